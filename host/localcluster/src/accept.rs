//! What a client is willing to read: the `Accept` header as API servers understand it.
//!
//! A clause is a media type with parameters; `as`, `g` and `v` ask for another kind than the stored one (a Table, the
//! aggregated discovery). Clauses are tried by falling `q`, then in the order they stand in. Only JSON is served.

/// One clause of the header that JSON can satisfy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Clause<'a> {
    /// The kind that is asked for in place of the stored one; empty: as it is stored.
    pub(crate) kind: &'a str,
    /// Group of `kind`.
    pub(crate) group: &'a str,
    /// Version of `kind`.
    pub(crate) version: &'a str,
}

/// The clauses of `accept` that JSON satisfies, the dearest first. No header (an empty one) takes everything.
pub(crate) fn json_clauses(accept: &str) -> Vec<Clause<'_>> {
    if accept.trim().is_empty() {
        return vec![Clause {
            kind: "",
            group: "",
            version: "",
        }];
    }
    let mut found: Vec<(u16, Clause<'_>)> = accept.split(',').filter_map(clause).collect();
    found.sort_by_key(|(q, _)| std::cmp::Reverse(*q)); // stable: equal ones keep their order
    found.into_iter().map(|(_, clause)| clause).collect()
}

fn clause(text: &str) -> Option<(u16, Clause<'_>)> {
    let mut parts = text.split(';').map(str::trim);
    let media = parts.next()?;
    if !["application/json", "application/*", "*/*"]
        .iter()
        .any(|m| media.eq_ignore_ascii_case(m))
    {
        return None;
    }
    let mut clause = Clause {
        kind: "",
        group: "",
        version: "",
    };
    let mut q = 1000;
    for part in parts {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        match key.trim() {
            "as" => clause.kind = value.trim(),
            "g" => clause.group = value.trim(),
            "v" => clause.version = value.trim(),
            "q" => q = quality(value.trim()),
            _ => {} // charset, stream=watch, profile: nothing depends on them
        }
    }
    (q > 0).then_some((q, clause))
}

/// Thousandths; what does not parse counts as 1, as if it were not there.
fn quality(text: &str) -> u16 {
    match text.parse::<f32>() {
        Ok(q) if (0.0..=1.0).contains(&q) => (q * 1000.0).round() as u16,
        _ => 1000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(accept: &str) -> Vec<&str> {
        json_clauses(accept).into_iter().map(|c| c.kind).collect()
    }

    #[test]
    fn clauses_keep_their_order_and_what_is_not_json_falls_away() {
        let accept =
            "application/vnd.kubernetes.protobuf, application/json;as=Table;v=v1;g=meta.k8s.io , application/json";
        assert_eq!(kinds(accept), ["Table", ""]);
        assert_eq!(
            json_clauses(accept)[0],
            Clause {
                kind: "Table",
                group: "meta.k8s.io",
                version: "v1"
            }
        );
        assert!(kinds("text/html").is_empty());
    }

    #[test]
    fn a_higher_quality_goes_first_and_zero_means_never() {
        assert_eq!(
            kinds("application/json;q=0.5,application/json;as=Table;q=0.9,*/*;as=X;q=0"),
            ["Table", ""]
        );
        assert_eq!(kinds("application/json;q=nonsense"), [""]);
    }

    #[test]
    fn no_header_takes_everything() {
        assert_eq!(kinds(""), [""]);
        assert_eq!(kinds(" "), [""]);
    }
}
