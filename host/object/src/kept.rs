//! What is kept of an object's text, and where its metadata's members stand in that.

use std::borrow::Cow;

use crate::{
    Gvk,
    raw::{self, Member, Span},
};

/// The annotation in which `kubectl apply` keeps a whole second copy of the object.
pub(crate) const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The kept text, made in one allocation of its size.
#[derive(Default)]
pub(crate) struct Kept<'a> {
    pub(crate) json: String,
    pub(crate) metadata: Span,
    /// Members of the metadata: names, and the places of their values in the kept text.
    pub(crate) members: Vec<(Cow<'a, str>, Span)>,
}

impl<'a> Kept<'a> {
    /// Everything as it came.
    pub(crate) fn all(&mut self, text: &'a str, metadata: Span, members: &[Member]) {
        self.json = text.to_owned();
        self.metadata = metadata;
        self.members = members.iter().map(|member| (member.name(text), member.value)).collect();
    }

    /// Everything but managedFields and `kubectl apply`'s copy. Where there is nothing to cut, not a byte is touched.
    pub(crate) fn cut(&mut self, text: &'a str, metadata: Span, members: &[Member]) {
        let cuts = cuts(text, members);
        if cuts.is_empty() {
            return self.all(text, metadata, members);
        }
        // The rest is a little less than this, by commas and names.
        self.json
            .reserve_exact(text.len() - cuts.iter().map(|cut| cut.gone).sum::<usize>());
        self.json.push_str(&text[..metadata.start as usize]);
        self.metadata(text, members, &cuts);
        self.json.push_str(&text[metadata.end as usize..]);
        self.json.shrink_to_fit();
    }

    /// `apiVersion`, `kind` and metadata, and a Secret's `type`.
    pub(crate) fn partial(
        &mut self,
        text: &'a str,
        gvk: &Gvk,
        metadata: Span,
        members: &[Member],
        secret_type: Option<&str>,
    ) {
        self.json.push_str("{\"apiVersion\":");
        write_string(&mut self.json, &gvk.api_version());
        self.json.push_str(",\"kind\":");
        write_string(&mut self.json, &gvk.kind);
        self.json.push_str(",\"metadata\":");
        let cuts = cuts(text, members);
        if !cuts.is_empty() {
            self.metadata(text, members, &cuts);
        } else {
            let start = self.json.len();
            self.json.push_str(metadata.of(text));
            self.metadata = Span::new(start, self.json.len());
            let moved = |at: u32| start + (at - metadata.start) as usize;
            self.members = members
                .iter()
                .map(|member| {
                    let value = Span::new(moved(member.value.start), moved(member.value.end));
                    (member.name(text), value)
                })
                .collect();
        }
        if let Some(secret_type) = secret_type {
            self.json.push_str(",\"type\":");
            self.json.push_str(secret_type);
        }
        self.json.push('}');
        self.json.shrink_to_fit();
    }

    /// The metadata without what is cut.
    fn metadata(&mut self, text: &'a str, members: &[Member], cuts: &[Cut]) {
        let start = self.json.len();
        self.json.push('{');
        self.members.reserve_exact(members.len());
        for (i, member) in members.iter().enumerate() {
            let cut = cuts.iter().find(|cut| cut.member == i);
            if cut.is_some_and(|cut| cut.whole) {
                continue;
            }
            let name = member.name(text);
            separate(&mut self.json);
            write_string(&mut self.json, &name);
            self.json.push(':');
            let at = self.json.len();
            if cut.is_some() {
                let annotations = member.value.of(text);
                self.json.push('{');
                for annotation in raw::members_of(annotations).unwrap_or_default() {
                    let name = annotation.name(annotations);
                    if name != LAST_APPLIED {
                        separate(&mut self.json);
                        write_string(&mut self.json, &name);
                        self.json.push(':');
                        self.json.push_str(annotation.value.of(annotations));
                    }
                }
                self.json.push('}');
            } else {
                self.json.push_str(member.value.of(text));
            }
            self.members.push((name, Span::new(at, self.json.len())));
        }
        self.json.push('}');
        self.metadata = Span::new(start, self.json.len());
    }
}

fn separate(json: &mut String) {
    if !json.ends_with('{') {
        json.push(',');
    }
}

/// A member of the metadata of which something is cut.
struct Cut {
    member: usize,
    /// All of it; else `kubectl apply`'s copy among the annotations.
    whole: bool,
    /// Bytes.
    gone: usize,
}

fn cuts(text: &str, members: &[Member]) -> Vec<Cut> {
    let cut = |(i, member): (usize, &Member)| {
        let value = member.value.of(text);
        let (whole, gone) = if member.is(text.as_bytes(), "managedFields") {
            (true, value.len())
        } else if member.is(text.as_bytes(), "annotations") {
            // All of them are read, since all but one are written anew: what can't be stays as it is.
            let annotations = raw::members_of(value)?;
            let copy = annotations
                .iter()
                .find(|annotation| annotation.is(value.as_bytes(), LAST_APPLIED))?;
            (false, copy.value.of(value).len())
        } else {
            return None;
        };
        Some(Cut { member: i, whole, gone })
    };
    members.iter().enumerate().filter_map(cut).collect()
}

fn write_string(out: &mut String, text: &str) {
    if raw::plain_end(text.as_bytes(), 0) == text.len() {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        // A string always serialises.
        out.push_str(&serde_json::to_string(text).unwrap_or_default());
    }
}
