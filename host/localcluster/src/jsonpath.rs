//! The JSONPath of printer columns, as client-go reads it: `.spec.size`, `.metadata.labels['a/b']`,
//! `.metadata.labels.app\.kubernetes\.io/name`, `.spec.ports[0].port`, `.items[*].name`, `.list[-1]`, `.list[0:2]`,
//! and filters as in `.status.conditions[?(@.type=="Ready")].status`.
//!
//! Not read: `..` and unions (`[0,1]`). A path that is not read finds nothing, so its column stays empty.

use serde_json::Value;

/// Longer paths are not read.
const MAX_PATH: usize = 1024;
/// More values than this are not carried from step to step; a column shows the first one only.
const MAX_FOUND: usize = 1000;

/// A path that was understood.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct JsonPath(Vec<Step>);

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Field(String),
    Index(i64),
    Slice(Option<i64>, Option<i64>),
    All,
    /// Elements where what the path finds stands in the relation to the literal; without one: where it finds anything.
    Filter(JsonPath, Option<(Relation, Value)>),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Relation {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl JsonPath {
    /// Reads a path; braces around it and a leading `$` may be there or not. `None`: not understood.
    pub(crate) fn parse(text: &str) -> Option<JsonPath> {
        if text.len() > MAX_PATH {
            return None;
        }
        let text = text.trim();
        let text = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(text);
        let mut rest = text.strip_prefix('$').unwrap_or(text);
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let step;
            (step, rest) = next_step(rest)?;
            steps.extend(step);
        }
        Some(JsonPath(steps))
    }

    /// The first value the path finds in `value`.
    pub(crate) fn first<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        self.find(value).into_iter().next()
    }

    fn find<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        let mut found = vec![value];
        for step in &self.0 {
            found = found
                .into_iter()
                .flat_map(|value| step.take(value))
                .take(MAX_FOUND)
                .collect();
        }
        found
    }
}

impl Step {
    fn take<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        match (self, value) {
            (Step::Field(name), Value::Object(map)) => map.get(name).into_iter().collect(),
            (Step::Index(index), Value::Array(items)) => {
                at(*index, items.len()).and_then(|i| items.get(i)).into_iter().collect()
            }
            (Step::Slice(from, to), Value::Array(items)) => {
                let bound = |b: Option<i64>, default| b.map_or(default, |b| at(b, items.len()).unwrap_or(0));
                items
                    .get(bound(*from, 0)..bound(*to, items.len()).min(items.len()))
                    .into_iter()
                    .flatten()
                    .collect()
            }
            (Step::All, Value::Array(items)) => items.iter().collect(),
            (Step::All, Value::Object(map)) => map.values().collect(),
            (Step::Filter(path, test), Value::Array(items)) => items
                .iter()
                .filter(|item| passes(path.first(item), test.as_ref()))
                .collect(),
            _ => Vec::new(),
        }
    }
}

/// An index counted from the end where it is negative.
fn at(index: i64, len: usize) -> Option<usize> {
    if index >= 0 {
        usize::try_from(index).ok()
    } else {
        len.checked_sub(usize::try_from(index.unsigned_abs()).ok()?)
    }
}

fn passes(found: Option<&Value>, test: Option<&(Relation, Value)>) -> bool {
    let (Some(found), test) = (found, test) else {
        return false;
    };
    let Some((relation, literal)) = test else { return true };
    let order = match (found, literal) {
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Value::Number(a), Value::Number(b)) => a.as_f64().zip(b.as_f64()).and_then(|(a, b)| a.partial_cmp(&b)),
        _ => None, // other kinds of values are never compared
    };
    order.is_some_and(|order| match relation {
        Relation::Equal => order.is_eq(),
        Relation::NotEqual => order.is_ne(),
        Relation::Less => order.is_lt(),
        Relation::LessOrEqual => order.is_le(),
        Relation::Greater => order.is_gt(),
        Relation::GreaterOrEqual => order.is_ge(),
    })
}

/// The first step of `text` and what follows it; a lone dot is no step.
fn next_step(text: &str) -> Option<(Option<Step>, &str)> {
    if let Some(rest) = text.strip_prefix('[') {
        let end = closing(rest)?;
        return Some((Some(bracket(rest.get(..end)?.trim())?), rest.get(end + 1..)?));
    }
    let rest = text.strip_prefix('.').unwrap_or(text);
    if rest.starts_with('.') {
        return None;
    }
    let mut name = String::new();
    let mut chars = rest.char_indices();
    let mut end = rest.len();
    while let Some((i, c)) = chars.next() {
        match c {
            '\\' => name.push(chars.next()?.1),
            '.' | '[' => {
                end = i;
                break;
            }
            c => name.push(c),
        }
    }
    let step = match name.as_str() {
        "" => None,
        "*" => Some(Step::All),
        _ => Some(Step::Field(name)),
    };
    Some((step, rest.get(end..)?))
}

/// Where the bracket that was opened before `text` closes: quotes hide brackets, brackets nest.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut quote) = (0_usize, None);
    let mut chars = text.char_indices();
    while let Some((i, c)) = chars.next() {
        match (c, quote) {
            ('\\', _) => {
                chars.next();
            }
            (c, Some(q)) if c == q => quote = None,
            (_, Some(_)) => {}
            ('"' | '\'', None) => quote = Some(c),
            ('[', None) => depth += 1,
            (']', None) if depth == 0 => return Some(i),
            (']', None) => depth -= 1,
            _ => {}
        }
    }
    None
}

fn bracket(inner: &str) -> Option<Step> {
    if inner == "*" {
        return Some(Step::All);
    }
    if let Some(filter) = inner.strip_prefix("?(").and_then(|t| t.strip_suffix(')')) {
        return self::filter(filter);
    }
    if let Some(name) = quoted(inner) {
        return Some(Step::Field(name));
    }
    if let Some((from, to)) = inner.split_once(':') {
        let bound = |t: &str| {
            if t.trim().is_empty() {
                Some(None)
            } else {
                t.trim().parse().ok().map(Some)
            }
        };
        return Some(Step::Slice(bound(from)?, bound(to)?));
    }
    inner.parse().ok().map(Step::Index)
}

fn filter(text: &str) -> Option<Step> {
    let (at, relation, width) = relation_in(text).map_or((text.len(), None, 0), |(i, r, w)| (i, Some(r), w));
    let path = JsonPath::parse(text.get(..at)?.trim().strip_prefix('@')?)?;
    let test = match relation {
        None => None,
        Some(relation) => {
            let literal = text.get(at + width..)?.trim();
            let literal = match quoted(literal) {
                Some(text) => Value::String(text),
                None => serde_json::from_str(literal)
                    .ok()
                    .filter(|v: &Value| v.is_number() || v.is_boolean())?,
            };
            Some((relation, literal))
        }
    };
    Some(Step::Filter(path, test))
}

/// The first relation outside quotes: where, which, how wide.
fn relation_in(text: &str) -> Option<(usize, Relation, usize)> {
    let mut quote = None;
    for (i, c) in text.char_indices() {
        match (c, quote) {
            (c, Some(q)) if c == q => quote = None,
            (_, Some(_)) => {}
            ('"' | '\'', None) => quote = Some(c),
            _ => {
                let rest = text.get(i..)?;
                let known = [
                    ("==", Relation::Equal),
                    ("!=", Relation::NotEqual),
                    ("<=", Relation::LessOrEqual),
                    (">=", Relation::GreaterOrEqual),
                    ("<", Relation::Less),
                    (">", Relation::Greater),
                ];
                if let Some((sign, relation)) = known.into_iter().find(|(sign, _)| rest.starts_with(sign)) {
                    return Some((i, relation, sign.len()));
                }
            }
        }
    }
    None
}

/// The text between equal quotes, its escapes taken off.
fn quoted(text: &str) -> Option<String> {
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let inner = text.strip_prefix(quote)?.strip_suffix(quote)?;
    let mut out = String::new();
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.push(chars.next()?),
            c if c == quote => return None, // 'a','b': a union
            c => out.push(c),
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn first(path: &str) -> Option<Value> {
        let object = json!({
            "spec": { "size": 3, "ports": [{"port": 80, "name": "web"}, {"port": 443, "name": "tls"}], "a.b/c": "x" },
            "status": { "conditions": [
                {"type": "Done", "status": "False", "n": 1, "ok": false},
                {"type": "Ready", "status": "True", "n": 5, "ok": true},
            ] },
        });
        JsonPath::parse(path)
            .unwrap_or_else(|| panic!("{path} is not read"))
            .first(&object)
            .cloned()
    }

    #[test]
    fn fields_are_found_by_dots_brackets_and_escapes() {
        assert_eq!(first(".spec.size"), Some(json!(3)));
        assert_eq!(first("spec.size"), Some(json!(3)));
        assert_eq!(first("{.spec.size}"), Some(json!(3)));
        assert_eq!(first("$.spec['size']"), Some(json!(3)));
        assert_eq!(first(r".spec.a\.b/c"), Some(json!("x")));
        assert_eq!(first(".spec['a.b/c']"), Some(json!("x")));
        assert_eq!(first(r#".spec["a.b/c"]"#), Some(json!("x")));
        assert_eq!(first(".spec.none.deeper"), None);
    }

    #[test]
    fn elements_are_found_by_index_slice_and_star() {
        assert_eq!(first(".spec.ports[1].port"), Some(json!(443)));
        assert_eq!(first(".spec.ports[-1].port"), Some(json!(443)));
        assert_eq!(first(".spec.ports[*].port"), Some(json!(80)));
        assert_eq!(first(".spec.ports[1:].port"), Some(json!(443)));
        assert_eq!(first(".spec.ports[:1].name"), Some(json!("web")));
        assert_eq!(first(".spec.ports[1:0].name"), None);
        assert_eq!(first(".spec.ports[9].name"), None);
        assert_eq!(first(".spec.ports[-9].name"), None);
    }

    #[test]
    fn filters_choose_by_what_stands_in_an_element() {
        for path in [
            r#".status.conditions[?(@.type=="Ready")].status"#,
            ".status.conditions[?(@.type == 'Ready')].status",
            ".status.conditions[?(@.n>1)].status",
            ".status.conditions[?(@['n'] >= 5)].status",
            ".status.conditions[?(@.type != 'Done')].status",
            ".status.conditions[?(@.ok == true)].status",
        ] {
            assert_eq!(first(path), Some(json!("True")), "{path}");
        }
        assert_eq!(first(".status.conditions[?(@.type)].status"), Some(json!("False")));
        assert_eq!(first(".status.conditions[?(@.n < 2)].status"), Some(json!("False")));
        assert_eq!(first(".status.conditions[?(@.type == 5)].status"), None);
        assert_eq!(first(".status.conditions[?(@.type == 'No')].status"), None);
    }

    #[test]
    fn what_is_not_understood_is_no_path() {
        for path in [
            "..name",
            ".a[",
            ".a['b]",
            ".a[0,1]",
            ".a['x','y']",
            ".a[?(type)]",
            ".a[?(@.x==)]",
            r".a\",
        ] {
            assert_eq!(JsonPath::parse(path), None, "{path}");
        }
        assert_eq!(JsonPath::parse(&".a".repeat(MAX_PATH)), None);
    }

    #[test]
    fn no_text_makes_it_panic() {
        let mut rng = fastrand::Rng::with_seed(7);
        let letters: Vec<char> = ".[]()?@'\"\\*:=<>!-0a{}$ü".chars().collect();
        let value = json!({"a": [{"a": 0}, "a"], "": {"0": []}});
        for _ in 0..20_000 {
            let text: String = (0..rng.usize(0..14))
                .map(|_| letters[rng.usize(0..letters.len())])
                .collect();
            if let Some(path) = JsonPath::parse(&text) {
                let _ = path.first(&value);
            }
        }
    }
}
