//! The outermost frame of a component: its sections one after another, and which of them are custom ones.
//!
//! Sections of other kinds are passed over by their length and not looked into, so that nothing nested can pretend to
//! be the component's own. One pass over the bytes, nothing copied.

use crate::problem::Problem;

/// Magic, version and layer of a component.
const COMPONENT: &[u8; 8] = b"\0asm\x0d\0\x01\0";
const CORE_MODULE: &[u8; 8] = b"\0asm\x01\0\0\0";
const CUSTOM: u8 = 0;

/// A section.
pub(super) struct Section<'a> {
    /// All its bytes, with its kind and length.
    pub(super) whole: &'a [u8],
    /// For a custom section: its name and what it holds.
    pub(super) custom: Option<(&'a str, &'a [u8])>,
}

/// The first eight bytes of a component.
///
/// # Errors
/// What else it is.
pub(super) fn header(component: &[u8]) -> Result<&[u8], Problem> {
    match component.split_at_checked(COMPONENT.len()) {
        Some((header, _)) if header == COMPONENT => Ok(header),
        Some((header, _)) if header == CORE_MODULE => Err(Problem::new(
            "",
            "it is a core WebAssembly module and no component",
            "turn it into one with `pilothouse pack`",
        )),
        _ => Err(Problem::new(
            "",
            "it is no WebAssembly component",
            "name a component that `pilothouse pack` wrote",
        )),
    }
}

/// The sections of a component, in their order; ends at the first that is broken.
///
/// # Errors
/// As [`header`].
pub(super) fn of(component: &[u8]) -> Result<impl Iterator<Item = Result<Section<'_>, Problem>>, Problem> {
    let mut rest = &component[header(component)?.len()..];
    Ok(std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let at = component.len() - rest.len();
        let Some((section, after)) = first(rest) else {
            rest = &[];
            return Some(Err(Problem::new(
                "",
                format!("the component is cut off or broken: the section at byte {at} can't be read"),
                "copy or build it again",
            )));
        };
        rest = after;
        Some(Ok(section))
    }))
}

/// The first section of `bytes` and what follows it.
fn first(bytes: &[u8]) -> Option<(Section<'_>, &[u8])> {
    let (kind, rest) = bytes.split_first()?;
    let (length, rest) = number(rest)?;
    let (content, after) = rest.split_at_checked(length)?;
    let custom = match *kind {
        CUSTOM => {
            let (length, rest) = number(content)?;
            let (name, data) = rest.split_at_checked(length)?;
            Some((std::str::from_utf8(name).ok()?, data))
        }
        _ => None,
    };
    let whole = &bytes[..bytes.len() - after.len()];
    Some((Section { whole, custom }, after))
}

/// A number of 32 bits in LEB128 and what follows it.
fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value: u32 = 0;
    for (i, byte) in bytes.iter().enumerate().take(5) {
        let bits = u32::from(byte & 0x7f);
        // The fifth byte has room for four bits.
        if i == 4 && bits > 0x0f {
            return None;
        }
        value |= bits << (7 * i);
        if byte & 0x80 == 0 {
            return Some((usize::try_from(value).ok()?, &bytes[i + 1..]));
        }
    }
    None
}

/// Appends a custom section.
///
/// # Errors
/// If its length is no number of 32 bits.
pub(super) fn append(out: &mut Vec<u8>, name: &str, data: &[u8]) -> Result<(), Problem> {
    let mut content = Vec::with_capacity(name.len() + data.len() + 5);
    put_number(&mut content, name.len())?;
    content.extend_from_slice(name.as_bytes());
    content.extend_from_slice(data);
    out.push(CUSTOM);
    put_number(out, content.len())?;
    out.extend_from_slice(&content);
    Ok(())
}

fn put_number(out: &mut Vec<u8>, value: usize) -> Result<(), Problem> {
    let mut value =
        u32::try_from(value).map_err(|_| Problem::new("", "a section is longer than 4 GiB", "embed less"))?;
    while value >= 0x80 {
        // Seven bits at a time.
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    Ok(())
}
