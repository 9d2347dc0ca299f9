//! The names of the fields that an operator may set: the only names that an error may say of where it stands.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use serde::de::value::Error as Ended;
use serde::de::{DeserializeOwned, Deserializer, Error as _, Visitor};
use serde::forward_to_deserialize_any;

use super::{
    ApiTimeouts, BreakerSettings, Budget, CompileSettings, Config, ControllerOverrides, HostConfig, InstanceSettings,
    LimitOverrides, PluginConfig, concurrency, impersonate,
};
use crate::grant::Grant;
use crate::queue_settings::{BackoffSettings, FastSlow, QueueSettings, RetryRate};

/// Every one, whatever it lies in. A type that is missing here costs its fields their names in errors, and no more.
static KNOWN: LazyLock<BTreeSet<&str>> = LazyLock::new(|| {
    [
        of::<Config>(),
        of::<HostConfig>(),
        of::<CompileSettings>(),
        of::<ApiTimeouts>(),
        of::<PluginConfig>(),
        of::<Grant>(),
        of::<LimitOverrides>(),
        of::<InstanceSettings>(),
        of::<Budget>(),
        of::<QueueSettings>(),
        of::<BackoffSettings>(),
        of::<RetryRate>(),
        of::<FastSlow>(),
        of::<BreakerSettings>(),
        of::<ControllerOverrides>(),
        of::<concurrency::Auto>(),
        of::<impersonate::Said>(),
        &["auto"],
    ]
    .concat()
    .into_iter()
    .collect()
});

/// The field of this name, in our own words; none where there is none.
pub(super) fn known(name: &str) -> Option<&'static str> {
    KNOWN.get(name).copied()
}

/// The fields of a struct, as they stand in a file.
fn of<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut fields: &[&str] = &[];
    // It ends with an error always: nothing is read, it is only asked for what it would take.
    drop(T::deserialize(Asked(&mut fields)));
    fields
}

struct Asked<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Asked<'_> {
    type Error = Ended;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Ended> {
        Err(Ended::custom("no struct"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Ended> {
        *self.0 = fields;
        Err(Ended::custom("nothing is read"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}
