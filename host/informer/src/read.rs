//! Readers for what the API server sends: lists as they stream in, and the lines of a watch.
//!
//! Bytes go in as they arrive. Nothing is held but the element or line that is still incomplete, and that at most
//! [`MAX_OBJECT`] bytes long. Nothing recurses with the depth of the input. What can't be read costs itself alone, but
//! for a list whose frame is broken: that list has failed.

use memchr::{memchr, memchr2};
use pilothouse_object::{Gvk, Keep, Key, Object, Version};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    reflector::Event,
    reflector::failure::Failure,
    store::{Change, Item},
};

/// The longest object or watch line, in bytes. etcd takes 1.5 MiB, aggregated servers may send more.
pub const MAX_OBJECT: usize = 32 << 20;

/// What is read, and what is kept of it.
#[derive(Clone, Debug)]
pub struct Format {
    /// The kind asked for. Items without a kind of their own have this one; any other kind is unreadable.
    pub gvk: Gvk,
    /// What is kept of each object.
    pub keep: Keep,
}

impl Format {
    /// An object, or why it can't be had and under which key.
    fn object(&self, json: &[u8]) -> Result<Object, Unreadable> {
        let why = match Object::parse(json, Some(&self.gvk), self.keep) {
            Ok(object) if *object.head().gvk == self.gvk => return Ok(object),
            Ok(object) => format!("it is a {}", object.head().gvk),
            Err(error) => error.to_string(),
        };
        #[derive(Deserialize)]
        struct Named {
            metadata: Metadata,
        }
        #[derive(Deserialize)]
        struct Metadata {
            name: String,
            namespace: Option<String>,
        }
        let key = serde_json::from_slice::<Named>(json)
            .ok()
            .map(|named| Key::new(named.metadata.namespace.as_deref(), &named.metadata.name));
        Err(Unreadable { key, why })
    }

    fn item(&self, json: &[u8], out: &mut Page) {
        match self.object(json) {
            Ok(object) => out.items.push(Item::Object(object)),
            Err(unreadable) => {
                out.items.extend(unreadable.key.clone().map(Item::Unreadable));
                out.unreadable.push(unreadable);
            }
        }
    }

    /// An event of an object, written as every server writes it and in order; none: another look tells. One pass.
    fn plain_event(&self, line: &[u8]) -> Option<Event> {
        const NEXT: &[u8] = br#"","object":"#;
        let rest = line.strip_prefix(br#"{"type":""#)?;
        let kind = &rest[..memchr(b'"', rest)?];
        let rest = rest[kind.len()..].strip_prefix(NEXT)?;
        let event = match kind {
            b"ADDED" => |object| Event::Added(Change::Put(object)),
            b"MODIFIED" => |object| Event::Changed(Change::Put(object)),
            b"DELETED" => |object| Event::Changed(Change::Deleted(object)),
            _ => return None,
        };
        let (object, end) = Object::parse_at(rest, 0, Some(&self.gvk), self.keep).ok()?;
        let closed = rest[end..].trim_ascii() == b"}";
        (closed && *object.head().gvk == self.gvk).then(|| event(object))
    }

    /// Reads one line of a watch, whichever of `type` and `object` comes first.
    pub fn event(&self, line: &[u8]) -> Result<Event, Unreadable> {
        if let Some(event) = self.plain_event(line) {
            return Ok(event);
        }
        #[derive(Deserialize)]
        struct Line<'a> {
            #[serde(borrow, rename = "type")]
            kind: std::borrow::Cow<'a, str>,
            #[serde(borrow)]
            object: &'a RawValue,
        }
        #[derive(Deserialize)]
        struct Bookmark {
            metadata: BookmarkMetadata,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct BookmarkMetadata {
            resource_version: String,
            annotations: Option<Annotations>,
        }
        #[derive(Deserialize)]
        struct Annotations {
            #[serde(default, rename = "k8s.io/initial-events-end")]
            initial_end: Option<String>,
        }
        let broken = |error: serde_json::Error| Unreadable {
            key: None,
            why: format!("the event can't be read: {error}"),
        };
        let line: Line<'_> = serde_json::from_slice(line).map_err(broken)?;
        let json = line.object.get().as_bytes();
        Ok(match &*line.kind {
            "ADDED" => Event::Added(Change::Put(self.object(json)?)),
            "MODIFIED" => Event::Changed(Change::Put(self.object(json)?)),
            "DELETED" => Event::Changed(Change::Deleted(self.object(json)?)),
            "BOOKMARK" => {
                let bookmark: Bookmark = serde_json::from_slice(json).map_err(broken)?;
                let version = Version::new(&bookmark.metadata.resource_version);
                let annotations = bookmark.metadata.annotations;
                match annotations.and_then(|annotations| annotations.initial_end).as_deref() {
                    Some("true") => Event::InitialEnd(version),
                    _ => Event::Bookmark(version),
                }
            }
            "ERROR" => Event::Error(Failure::of_status(None, json, None)),
            _ => Event::Unknown,
        })
    }
}

/// Something that can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Which object it is, where that much could be read.
    pub key: Option<Key>,
    /// What is wrong.
    pub why: String,
}

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.key {
            Some(key) => write!(f, "{key}: {}", self.why),
            None => f.write_str(&self.why),
        }
    }
}

/// Cuts a stream of bytes into lines.
#[derive(Debug, Default)]
pub struct Lines {
    partial: Vec<u8>,
    /// The running line is too long: skip to its end.
    skipping: bool,
}

impl Lines {
    /// Takes bytes in and hands each complete line to `line`; none stands for one that was too long. Empty lines are
    /// left out.
    pub fn push(&mut self, mut bytes: &[u8], mut line: impl FnMut(Option<&[u8]>)) {
        while let Some(end) = memchr(b'\n', bytes) {
            let (head, rest) = bytes.split_at(end);
            bytes = &rest[1..];
            if self.skipping || self.partial.len() + head.len() > MAX_OBJECT {
                line(None);
            } else if self.partial.is_empty() {
                Self::hand(head, &mut line);
            } else {
                self.partial.extend_from_slice(head);
                Self::hand(&self.partial, &mut line);
            }
            self.skipping = false;
            // One huge line must not hold its size while the watch lasts.
            self.partial.clear();
            self.partial.shrink_to(1 << 16);
        }
        if self.skipping || self.partial.len() + bytes.len() > MAX_OBJECT {
            self.skipping = true;
            self.partial = Vec::new();
        } else {
            self.partial.extend_from_slice(bytes);
        }
    }

    /// What came behind the last line's end: a line that was cut off, or one without its newline.
    pub fn rest(self) -> Option<Vec<u8>> {
        Some(self.partial).filter(|rest| !rest.trim_ascii().is_empty())
    }

    fn hand(text: &[u8], line: &mut impl FnMut(Option<&[u8]>)) {
        if !text.trim_ascii().is_empty() {
            line(Some(text));
        }
    }
}

/// What a piece of a list's answer held.
#[derive(Debug, Default)]
pub struct Page {
    /// Elements, in order.
    pub items: Vec<Item>,
    /// Those that can't be read.
    pub unreadable: Vec<Unreadable>,
}

/// A list whose frame can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the list can't be read: {why} at byte {at}")]
pub struct ListError {
    why: &'static str,
    at: u64,
}

/// Reads a list while it streams in, in whatever order its members come.
#[derive(Debug)]
pub struct ListReader {
    format: Format,
    at: State,
    /// The value or member name that is still incomplete.
    value: Vec<u8>,
    scan: Scan,
    /// Which member the running value belongs to.
    member: Member,
    version: Option<Version>,
    token: Option<String>,
    /// `items` was there: an answer without it is no empty list but no list at all.
    listed: bool,
    offset: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    /// Before a member's name or the end.
    Name {
        first: bool,
    },
    InName,
    Colon,
    /// Before a member's value.
    Value,
    InValue,
    /// After a member.
    Comma,
    /// Before an element of `items` or its end.
    Element {
        first: bool,
    },
    InElement,
    /// After an element.
    ElementComma,
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Member {
    Items,
    Metadata,
    Other,
}

/// Finds the end of one JSON value. Validity is for whoever reads the value.
#[derive(Debug, Default, Clone, Copy)]
struct Scan {
    depth: u32,
    string: bool,
    escape: bool,
    /// Longer than allowed: its bytes are not kept.
    oversize: bool,
}

/// What one byte did to a value.
enum Step {
    /// It belongs to the value.
    Within,
    /// It is the value's last.
    Last,
    /// The value (a number, `true`, …) ended before it.
    Behind,
}

impl Scan {
    /// Goes on over these bytes: how many belong to the value, and whether it has ended.
    fn run(&mut self, bytes: &[u8]) -> (usize, bool) {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            if self.string && !self.escape {
                // Most of a list stands in strings.
                match memchr2(b'"', b'\\', rest) {
                    Some(plain) => at += plain,
                    None => return (bytes.len(), false),
                }
            }
            match self.step(bytes[at]) {
                Step::Within => at += 1,
                Step::Last => return (at + 1, true),
                Step::Behind => return (at, true),
            }
        }
        (at, false)
    }

    fn step(&mut self, byte: u8) -> Step {
        if self.string {
            if self.escape {
                self.escape = false;
            } else if byte == b'\\' {
                self.escape = true;
            } else if byte == b'"' {
                self.string = false;
                return if self.depth == 0 { Step::Last } else { Step::Within };
            }
            return Step::Within;
        }
        match byte {
            b'"' => self.string = true,
            b'{' | b'[' => self.depth = self.depth.saturating_add(1),
            b'}' | b']' if self.depth == 0 => return Step::Behind,
            b'}' | b']' => {
                self.depth -= 1;
                if self.depth == 0 {
                    return Step::Last;
                }
            }
            b',' | b' ' | b'\t' | b'\r' | b'\n' if self.depth == 0 => return Step::Behind,
            _ => {}
        }
        Step::Within
    }
}

impl ListReader {
    /// A reader for one page.
    pub fn new(format: Format) -> Self {
        Self {
            format,
            at: State::Start,
            value: Vec::new(),
            scan: Scan::default(),
            member: Member::Other,
            version: None,
            token: None,
            listed: false,
            offset: 0,
        }
    }

    /// Takes the next bytes in and answers the elements that they complete.
    ///
    /// # Errors
    /// [`ListError`]: the answer is no list. Ask again, later.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Page, ListError> {
        let mut page = Page::default();
        let mut i = 0;
        while let Some(&byte) = bytes.get(i) {
            match self.at {
                State::InName | State::InValue | State::InElement => {
                    let (taken, ended) = self.scan.run(&bytes[i..]);
                    self.keep(&bytes[i..i + taken]);
                    i += taken;
                    if ended {
                        self.value_ends(&mut page).map_err(|why| self.error(why, i))?;
                    }
                    continue;
                }
                _ if byte.is_ascii_whitespace() => {}
                State::Start if byte == b'{' => self.at = State::Name { first: true },
                State::Name { first: true } | State::Comma if byte == b'}' => self.at = State::Done,
                State::Name { .. } if byte == b'"' => {
                    self.begin(State::InName);
                    continue;
                }
                State::Comma if byte == b',' => self.at = State::Name { first: false },
                State::Colon if byte == b':' => self.at = State::Value,
                State::Value if self.member == Member::Items && byte == b'[' => {
                    self.listed = true;
                    self.at = State::Element { first: true };
                }
                State::Value if !matches!(byte, b',' | b':' | b'}' | b']') => {
                    self.begin(State::InValue);
                    continue;
                }
                State::Element { first: true } | State::ElementComma if byte == b']' => self.at = State::Comma,
                State::Element { .. } if !matches!(byte, b',' | b':' | b'}' | b']') => {
                    // The bulk of a list: what is here whole is read where it lies.
                    if let Some(end) = self.whole(bytes, i, &mut page) {
                        self.at = State::ElementComma;
                        i = end;
                        continue;
                    }
                    self.begin(State::InElement);
                    continue;
                }
                State::ElementComma if byte == b',' => self.at = State::Element { first: false },
                _ => return Err(self.error("an unexpected character", i)),
            }
            i += 1;
        }
        self.offset += bytes.len() as u64;
        Ok(page)
    }

    /// The list's version (empty where the server gives none) and, where there are more pages, the token for the next.
    ///
    /// # Errors
    /// [`ListError`]: the answer ended too early.
    pub fn finish(self) -> Result<(Version, Option<String>), ListError> {
        if self.at != State::Done {
            return Err(self.error("it ends too early", 0));
        }
        match self.version.clone() {
            Some(_) if !self.listed => Err(self.error("it has no items", 0)),
            Some(version) => Ok((version, self.token.clone())),
            None => Err(self.error("it has no metadata", 0)),
        }
    }

    fn error(&self, why: &'static str, i: usize) -> ListError {
        ListError {
            why,
            at: self.offset + i as u64,
        }
    }

    fn begin(&mut self, state: State) {
        self.at = state;
        self.scan = Scan::default();
        self.value.clear();
    }

    /// Reads the object that begins at `at`, and answers where it ends; none where it has not come whole, or is no
    /// sound object: then its end is looked for by itself.
    fn whole(&self, bytes: &[u8], at: usize, page: &mut Page) -> Option<usize> {
        let format = &self.format;
        let (object, end) = Object::parse_at(bytes, at, Some(&format.gvk), format.keep).ok()?;
        if end - at > MAX_OBJECT || *object.head().gvk != format.gvk {
            return None;
        }
        page.items.push(Item::Object(object));
        Some(end)
    }

    fn keep(&mut self, bytes: &[u8]) {
        let wanted = match self.at {
            State::InValue => self.member != Member::Other,
            _ => true,
        };
        if self.value.len() + bytes.len() > MAX_OBJECT {
            self.scan.oversize = true;
            self.value = Vec::new();
        } else if wanted && !self.scan.oversize {
            self.value.extend_from_slice(bytes);
        }
    }

    fn value_ends(&mut self, page: &mut Page) -> Result<(), &'static str> {
        match self.at {
            State::InName => {
                self.member = match &*self.value {
                    b"\"items\"" => Member::Items,
                    b"\"metadata\"" => Member::Metadata,
                    _ => Member::Other,
                };
                self.at = State::Colon;
            }
            State::InElement => {
                if self.scan.oversize {
                    page.unreadable.push(Unreadable {
                        key: None,
                        why: format!("an object of more than {} MiB", MAX_OBJECT >> 20),
                    });
                } else {
                    self.format.item(&self.value, page);
                }
                self.at = State::ElementComma;
            }
            _ => {
                match self.member {
                    _ if self.scan.oversize => return Err("a member is too long"),
                    Member::Metadata => self.metadata()?,
                    // How Go writes an empty list that nobody made.
                    Member::Items if self.value == b"null" => self.listed = true,
                    Member::Items => return Err("items that are no list"),
                    Member::Other => {}
                }
                self.at = State::Comma;
            }
        }
        // One huge object must not hold its size for the rest of the list.
        self.value.clear();
        self.value.shrink_to(1 << 20);
        Ok(())
    }

    fn metadata(&mut self) -> Result<(), &'static str> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Metadata {
            resource_version: Option<String>,
            #[serde(rename = "continue")]
            token: Option<String>,
        }
        let metadata: Metadata = serde_json::from_slice(&self.value).map_err(|_| "metadata of another shape")?;
        self.version = Some(Version::new(metadata.resource_version.as_deref().unwrap_or_default()));
        self.token = metadata.token.filter(|t| !t.is_empty());
        Ok(())
    }
}

#[cfg(test)]
mod tests;
