//! A Kubernetes object as the bytes the API server sent, and the small parsed head that the host decides by.
//!
//! The room promises: the bytes between what it cuts stay as they came (numbers keep their text, unknown fields
//! survive); parsing never panics, never recurses with the depth of its input, and copies the kept bytes once. It does
//! not validate objects against a schema, does no I/O and holds no state.
//!
//! | module | what is in it |
//! |---|---|
//! | [`names`](Gvk) | [`Gvk`], [`Key`], [`Version`] and which names may stand in a URL |
//! | [`object`](Object) | [`Object`], what is kept of it ([`Keep`]) |
//! | [`head`](Head) | [`Head`], [`HeadLabels`], [`Owner`] |
//! | [`selector`](LabelSelector) | [`LabelSelector`], [`FieldSelector`] |
//! | [`path`](FieldPath) | [`FieldPath`], reading single fields out of the bytes |
//! | [`projection`](FieldSet) | [`FieldSet`], cutting the bytes down to some fields |
//! | [`merge`] | RFC 7386: making and applying merge patches |

mod head;
mod kept;
pub mod merge;
mod names;
mod object;
mod path;
mod projection;
mod raw;
mod selector;
mod text;

pub use head::{Head, HeadLabels, Owner, Owners};
pub use names::{Gvk, GvkParts, Key, NameError, Version, check_path_segment};
pub use object::{Keep, Object, ObjectError};
pub use path::{FieldPath, PathError};
pub use projection::FieldSet;
pub use selector::{FieldSelector, LabelSelector, LabelSource, Labels, SelectorError};
pub use text::{escape_control, must_escape, shorten};
