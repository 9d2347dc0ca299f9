//! Label selectors and field paths, as far as the fake needs them.

use std::collections::BTreeSet;

use serde_json::Value;

/// Whether labels fit a selector in Kubernetes' syntax. An error names the part that is no requirement.
pub(super) fn labels_match(selector: &str, labels: &Value) -> Result<bool, String> {
    let mut fits = true;
    for requirement in requirements(selector) {
        fits &= requirement_holds(requirement.trim(), labels)?;
    }
    Ok(fits)
}

/// Splits at commas that stand in no parentheses.
fn requirements(selector: &str) -> Vec<&str> {
    if selector.trim().is_empty() {
        return Vec::new();
    }
    let mut inside = false;
    let parts = selector.split(|character| {
        match character {
            '(' => inside = true,
            ')' => inside = false,
            _ => {}
        }
        character == ',' && !inside
    });
    parts.collect()
}

fn requirement_holds(requirement: &str, labels: &Value) -> Result<bool, String> {
    let label = |key: &str| labels[key.trim()].as_str();
    let values = |list: &str| -> Option<BTreeSet<String>> {
        let list = list.trim().strip_prefix('(')?.strip_suffix(')')?;
        Some(list.split(',').map(|value| value.trim().to_owned()).collect())
    };
    let bad = || format!("`{requirement}` is no requirement of a label selector");
    let fine = |key: &str| {
        let key = key.trim();
        let fits = |character: char| character.is_ascii_alphanumeric() || "-_./".contains(character);
        !key.is_empty() && key.chars().all(fits)
    };
    let (key, holds) = if let Some((key, list)) = requirement.split_once(" notin ") {
        let values = values(list).ok_or_else(bad)?;
        (key, label(key).is_none_or(|value| !values.contains(value)))
    } else if let Some((key, list)) = requirement.split_once(" in ") {
        let values = values(list).ok_or_else(bad)?;
        (key, label(key).is_some_and(|value| values.contains(value)))
    } else if let Some((key, value)) = requirement.split_once("!=") {
        (key, label(key) != Some(value.trim()))
    } else if let Some((key, value)) = requirement.split_once("==").or_else(|| requirement.split_once('=')) {
        (key, label(key) == Some(value.trim()))
    } else if let Some(key) = requirement.strip_prefix('!') {
        (key, label(key).is_none())
    } else {
        (requirement, label(requirement).is_some())
    };
    if fine(key) { Ok(holds) } else { Err(bad()) }
}

/// The strings at a path like `spec.items[*].name` or `metadata.labels['a/b']`.
pub(super) fn strings_at(path: &str, object: &Value) -> Vec<String> {
    let mut here = vec![object];
    let mut rest = path.trim_start_matches('.');
    while !rest.is_empty() {
        let (step, after) = next_step(rest);
        here = here
            .into_iter()
            .flat_map(|value| match step {
                "*" => value.as_array().map(|list| list.iter().collect()).unwrap_or_default(),
                key => value.get(key).into_iter().collect::<Vec<_>>(),
            })
            .collect();
        rest = after;
    }
    here.into_iter()
        .filter_map(|value| value.as_str().map(str::to_owned))
        .collect()
}

/// What stands at these paths, with what leads there; none if that is nothing. Elements of lists that are not kept leave
/// their place.
pub(super) fn only(paths: &[&str], value: &Value) -> Option<Value> {
    let paths: Vec<&str> = paths.iter().map(|path| path.trim_start_matches('.')).collect();
    if paths.iter().any(|path| path.is_empty()) {
        return Some(value.clone());
    }
    let below = |fits: &dyn Fn(&str) -> bool| -> Vec<&str> {
        let steps = paths.iter().map(|path| next_step(path));
        steps.filter(|(step, _)| fits(step)).map(|(_, rest)| rest).collect()
    };
    match value {
        _ if paths.is_empty() => None,
        Value::Object(members) => {
            let kept = members.iter().filter_map(|(name, value)| {
                let below = below(&|step| step == "*" || step == name);
                Some((name.clone(), only(&below, value)?))
            });
            Some(kept.collect())
        }
        Value::Array(elements) => {
            let below = below(&|step| step == "*" || step.parse::<usize>().is_ok());
            let kept = elements.iter().map(|element| only(&below, element).unwrap_or_default());
            Some(if below.is_empty() {
                Value::Array(Vec::new())
            } else {
                kept.collect()
            })
        }
        _ => None,
    }
}

fn next_step(path: &str) -> (&str, &str) {
    if let Some(inner) = path.strip_prefix('[') {
        let (step, after) = inner.split_once(']').unwrap_or((inner, ""));
        return (step.trim_matches(['\'', '"']), after.trim_start_matches('.'));
    }
    let end = path.find(['.', '[']).unwrap_or(path.len());
    (&path[..end], path[end..].trim_start_matches('.'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn selectors_select_as_in_kubernetes() {
        let labels = json!({"app": "web", "tier": "front"});
        for (selector, fits) in [
            ("", true),
            ("app=web", true),
            ("app==web, tier!=back", true),
            ("app in (web, api),tier notin (back)", true),
            ("missing!=x", true),
            ("missing notin (x)", true),
            ("app", true),
            ("!app", false),
            ("missing", false),
            ("app in (api)", false),
        ] {
            assert_eq!(labels_match(selector, &labels), Ok(fits), "{selector}");
        }
        assert!(labels_match("app in web", &labels).is_err());
        assert!(labels_match("a b", &labels).is_err());
    }

    #[test]
    fn what_stands_at_paths_is_kept_and_nothing_else() {
        let object = json!({"spec": {"parts": [{"name": "a", "n": 1}, 5], "size": 2, "o": {"x": 1}}, "data": {"a.b": "c", "d": "e"}});
        for (paths, kept) in [
            (
                vec!["spec.size", "data['a.b']"],
                json!({"spec": {"size": 2}, "data": {"a.b": "c"}}),
            ),
            (
                vec![".spec.parts[*].name"],
                json!({"spec": {"parts": [{"name": "a"}, null]}}),
            ),
            (
                vec!["spec.parts.name", "spec.o.y"],
                json!({"spec": {"parts": [], "o": {}}}),
            ),
            (vec!["data[*]", "data.d"], json!({"data": {"a.b": "c", "d": "e"}})),
            (vec!["none", "spec.size.deeper"], json!({"spec": {}})),
        ] {
            assert_eq!(only(&paths, &object), Some(kept), "{paths:?}");
        }
    }

    #[test]
    fn paths_find_every_string_they_lead_to() {
        let object =
            json!({"spec": {"items": [{"name": "a"}, {"name": "b"}, {}]}, "metadata": {"labels": {"x/y": "z"}}});
        assert_eq!(strings_at("spec.items[*].name", &object), ["a", "b"]);
        assert_eq!(strings_at(".metadata.labels['x/y']", &object), ["z"]);
        assert!(strings_at("spec.nothing", &object).is_empty());
    }
}
