//! Walking JSON text without building it: one pass that checks and skips, without recursion and without copies.
//!
//! What is accepted is exactly what `serde_json` accepts where it ignores a value: RFC 8259, with escapes of lone
//! surrogates let through (nobody reads those values here). The bytes' UTF-8 is for the caller to check: every byte
//! from 0x80 up passes inside strings, and nowhere else.

use std::borrow::Cow;

/// Text that is no JSON, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bad {
    pub(crate) at: usize,
    pub(crate) why: &'static str,
}

impl From<Bad> for serde_json::Error {
    fn from(bad: Bad) -> Self {
        serde::de::Error::custom(format_args!("{} at byte {}", bad.why, bad.at))
    }
}

fn bad<T>(at: usize, why: &'static str) -> Result<T, Bad> {
    Err(Bad { at, why })
}

/// Where a piece of text begins and ends. Objects are far smaller than 4 GiB; who reads them sees to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Span {
    /// The longest text whose places a span can name.
    pub(crate) const MAX: usize = u32::MAX as usize;

    pub(crate) fn new(start: usize, end: usize) -> Self {
        // Saturated places name no text, and no text is this long: see `MAX`.
        let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Self {
            start: place(start),
            end: place(end),
        }
    }

    pub(crate) fn of(self, text: &str) -> &str {
        text.get(self.start as usize..self.end as usize).unwrap_or_default()
    }

    pub(crate) fn is_empty(self) -> bool {
        self.end <= self.start
    }
}

/// One member of an object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    /// The name between its quotes.
    name: Span,
    /// The name has escapes, all of them sound.
    escaped: bool,
    pub(crate) value: Span,
}

impl Member {
    pub(crate) fn name(self, text: &str) -> Cow<'_, str> {
        if self.escaped {
            let quoted = Span {
                start: self.name.start.saturating_sub(1),
                end: self.name.end.saturating_add(1),
            };
            // It was read once already.
            return Cow::Owned(serde_json::from_str(quoted.of(text)).unwrap_or_default());
        }
        Cow::Borrowed(self.name.of(text))
    }

    /// The place of a name that has no escapes.
    pub(crate) fn plain_name(self) -> Span {
        self.name
    }

    pub(crate) fn is(self, text: &[u8], name: &str) -> bool {
        let own = text.get(self.name.start as usize..self.name.end as usize);
        if !self.escaped {
            return own == Some(name.as_bytes());
        }
        let quoted = text.get(self.name.start.saturating_sub(1) as usize..self.name.end as usize + 1);
        quoted.is_some_and(|quoted| serde_json::from_slice::<String>(quoted).is_ok_and(|own| own == name))
    }
}

/// How deep a walk stands, and in what: a bit for each container, set for objects.
#[derive(Default)]
struct Stack {
    bits: u64,
    depth: usize,
    /// Every 64 levels further up.
    upper: Vec<u64>,
}

impl Stack {
    fn push(&mut self, object: bool) {
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.upper.push(self.bits);
        }
        self.bits = (self.bits << 1) | u64::from(object);
        self.depth += 1;
    }

    fn pop(&mut self) {
        self.depth -= 1;
        self.bits >>= 1;
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.bits = self.upper.pop().unwrap_or_default();
        }
    }

    fn top(&self) -> Option<bool> {
        (self.depth > 0).then_some(self.bits & 1 == 1)
    }
}

/// Behind the whitespace.
#[inline]
pub(crate) fn space(text: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\t' | b'\r') = text.get(at) {
        at += 1;
    }
    at
}

/// Where the first quote, backslash or control character stands, or the text's end.
///
/// Eight bytes at a time: of each word, the lowest byte that is marked is one indeed (a borrow runs upwards only).
#[inline]
pub(crate) fn plain_end(text: &[u8], mut at: usize) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES << 7;
    let below = |word: u64, bound: u64| word.wrapping_sub(ONES * bound) & !word;
    while let Some(eight) = text.get(at..).and_then(|rest| rest.first_chunk()) {
        let word = u64::from_le_bytes(*eight);
        let marked = (below(word ^ (ONES * u64::from(b'"')), 1)
            | below(word ^ (ONES * u64::from(b'\\')), 1)
            | below(word, 0x20))
            & HIGH;
        if marked != 0 {
            return at + (marked.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while let Some(byte) = text.get(at) {
        if matches!(byte, b'"' | b'\\' | 0..0x20) {
            break;
        }
        at += 1;
    }
    at
}

/// Behind the string whose opening quote stands before `at`, and whether it has escapes.
#[inline]
fn string(text: &[u8], mut at: usize) -> Result<(usize, bool), Bad> {
    let mut escaped = false;
    loop {
        at = plain_end(text, at);
        match text.get(at) {
            Some(b'"') => return Ok((at + 1, escaped)),
            Some(b'\\') => {
                escaped = true;
                at = escape(text, at)?;
            }
            Some(_) => return bad(at, "a control character in a string"),
            None => return bad(at, "a string without its end"),
        }
    }
}

#[cold]
fn escape(text: &[u8], at: usize) -> Result<usize, Bad> {
    match text.get(at + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
        Some(b'u') => match text.get(at + 2..at + 6) {
            Some(digits) if digits.iter().all(u8::is_ascii_hexdigit) => Ok(at + 6),
            _ => bad(at, "an escape that is none"),
        },
        _ => bad(at, "an escape that is none"),
    }
}

fn number(text: &[u8], mut at: usize) -> Result<usize, Bad> {
    let digits = |mut at: usize| {
        let start = at;
        while let Some(b'0'..=b'9') = text.get(at) {
            at += 1;
        }
        if at == start {
            return bad(at, "a digit is missing");
        }
        Ok(at)
    };
    if text.get(at) == Some(&b'-') {
        at += 1;
    }
    if text.get(at) == Some(&b'0') {
        at += 1;
        if let Some(b'0'..=b'9') = text.get(at) {
            return bad(at, "a number that begins with 0");
        }
    } else {
        at = digits(at)?;
    }
    if text.get(at) == Some(&b'.') {
        at = digits(at + 1)?;
    }
    if let Some(b'e' | b'E') = text.get(at) {
        at += 1;
        if let Some(b'+' | b'-') = text.get(at) {
            at += 1;
        }
        at = digits(at)?;
    }
    Ok(at)
}

fn word(text: &[u8], at: usize, word: &str) -> Result<usize, Bad> {
    if text.get(at..).is_some_and(|rest| rest.starts_with(word.as_bytes())) {
        return Ok(at + word.len());
    }
    bad(at, "no value")
}

/// Behind a member's name and its colon, before which whitespace may stand.
#[inline]
fn name(text: &[u8], at: usize) -> Result<usize, Bad> {
    if text.get(at) != Some(&b'"') {
        return bad(at, "a member's name is missing");
    }
    let (at, _) = string(text, at + 1)?;
    colon(text, at)
}

#[inline]
fn colon(text: &[u8], at: usize) -> Result<usize, Bad> {
    let at = space(text, at);
    if text.get(at) != Some(&b':') {
        return bad(at, "a colon is missing");
    }
    Ok(at + 1)
}

/// Behind the value that begins at `at`, where no whitespace stands.
pub(crate) fn value(text: &[u8], mut at: usize) -> Result<usize, Bad> {
    let mut stack = Stack::default();
    loop {
        match text.get(at) {
            Some(b'"') => at = string(text, at + 1)?.0,
            Some(b'{') => {
                at = space(text, at + 1);
                if text.get(at) == Some(&b'}') {
                    at += 1;
                } else {
                    stack.push(true);
                    at = space(text, name(text, at)?);
                    continue;
                }
            }
            Some(b'[') => {
                at = space(text, at + 1);
                if text.get(at) == Some(&b']') {
                    at += 1;
                } else {
                    stack.push(false);
                    continue;
                }
            }
            Some(b'-' | b'0'..=b'9') => at = number(text, at)?,
            Some(b't') => at = word(text, at, "true")?,
            Some(b'f') => at = word(text, at, "false")?,
            Some(b'n') => at = word(text, at, "null")?,
            _ => return bad(at, "a value is missing"),
        }
        // A value has ended: so may what it stands in.
        loop {
            let Some(object) = stack.top() else { return Ok(at) };
            at = space(text, at);
            match text.get(at) {
                Some(b',') => {
                    at = space(text, at + 1);
                    if object {
                        at = space(text, name(text, at)?);
                    }
                    break;
                }
                Some(b'}') if object => stack.pop(),
                Some(b']') if !object => stack.pop(),
                _ => {
                    return bad(
                        at,
                        if object {
                            "a , or } is missing"
                        } else {
                            "a , or ] is missing"
                        },
                    );
                }
            }
            at += 1;
        }
    }
}

/// Walks the members of the object that begins at `at`. `each` is given a member whose value begins at `value.start`,
/// and answers where it ends, having read it; none stops the walk. Answers where the object ends, or none where it was
/// stopped.
#[inline]
pub(crate) fn walk(
    text: &[u8],
    at: usize,
    mut each: impl FnMut(Member) -> Result<Option<usize>, Bad>,
) -> Result<Option<usize>, Bad> {
    if text.get(at) != Some(&b'{') {
        return bad(at, "this is no object");
    }
    let mut at = space(text, at + 1);
    if text.get(at) == Some(&b'}') {
        return Ok(Some(at + 1));
    }
    loop {
        if text.get(at) != Some(&b'"') {
            return bad(at, "a member's name is missing");
        }
        let start = at + 1;
        let (end, escaped) = string(text, start)?;
        if escaped && serde_json::from_slice::<String>(text.get(at..end).unwrap_or_default()).is_err() {
            return bad(at, "a name that is no text");
        }
        at = space(text, colon(text, end)?);
        let member = Member {
            name: Span::new(start, end - 1),
            escaped,
            value: Span::new(at, at),
        };
        let Some(behind) = each(member)? else { return Ok(None) };
        at = space(text, behind);
        match text.get(at) {
            Some(b',') => at = space(text, at + 1),
            Some(b'}') => return Ok(Some(at + 1)),
            _ => return bad(at, "a , or } is missing"),
        }
    }
}

/// Adds the members of the object that begins at `at`, and answers where it ends.
pub(crate) fn members(text: &[u8], at: usize, out: &mut Vec<Member>) -> Result<usize, Bad> {
    let end = walk(text, at, |mut member| {
        let end = value(text, member.value.start as usize)?;
        member.value.end = Span::new(0, end).end;
        out.push(member);
        Ok(Some(end))
    })?;
    // It is never stopped.
    Ok(end.unwrap_or(text.len()))
}

/// The members of an object in their order; none where the text is no object.
pub(crate) fn members_of(json: &str) -> Option<Vec<Member>> {
    let mut out = Vec::new();
    members(json.as_bytes(), space(json.as_bytes(), 0), &mut out).ok()?;
    Some(out)
}

/// One member's value, or none where the text is no object or lacks it; the first of several. What stands behind it is
/// not looked at.
pub(crate) fn member<'a>(json: &'a str, name: &str) -> Option<&'a str> {
    let text = json.as_bytes();
    let mut found = None;
    walk(text, space(text, 0), |member| {
        let start = member.value.start as usize;
        let end = value(text, start)?;
        if member.is(text, name) {
            found = json.get(start..end);
            return Ok(None);
        }
        Ok(Some(end))
    })
    .ok()?;
    found
}

/// Calls `each` with the elements of an array until it answers false. False where the text is no array.
pub(crate) fn elements<'a>(json: &'a str, mut each: impl FnMut(&'a str) -> bool) -> bool {
    let text = json.as_bytes();
    let mut at = space(text, 0);
    if text.get(at) != Some(&b'[') {
        return false;
    }
    at = space(text, at + 1);
    if text.get(at) == Some(&b']') {
        return true;
    }
    while let Ok(end) = value(text, at) {
        if !each(json.get(at..end).unwrap_or_default()) {
            return true;
        }
        at = space(text, end);
        match text.get(at) {
            Some(b',') => at = space(text, at + 1),
            Some(b']') => return true,
            _ => return false,
        }
    }
    false
}

/// Text of a JSON string, borrowed where it has no escapes; none where this is no string, or escapes what is no text.
pub(crate) fn string_text(json: &str) -> Option<Cow<'_, str>> {
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    if plain_end(inner.as_bytes(), 0) == inner.len() {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str(json).ok().map(Cow::Owned)
}

/// Where `part`, a slice of `whole`, begins in it.
pub(crate) fn offset_in(whole: &str, part: &str) -> usize {
    part.as_ptr() as usize - whole.as_ptr() as usize
}
