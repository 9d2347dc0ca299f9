//! The query of a request: parameters, and the options of writes, lists and watches held against their rules.

use serde_json::Value;

use crate::status::{FieldError, Status};

/// A query has at most this many parameters; more are ignored.
const MAX_PARAMETERS: usize = 256;

/// Decoded parameters, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads `a=1&b=2`. Empty pieces are skipped, bad percent-encoding stays as it is.
    pub(crate) fn parse(text: &str) -> Query {
        Query(
            text.split('&')
                .filter(|piece| !piece.is_empty())
                .take(MAX_PARAMETERS)
                .map(|piece| {
                    let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
                    (decode(name, true), decode(value, true))
                })
                .collect(),
        )
    }

    /// The first value of a parameter; `None` when it is absent.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(have, _)| have == name)
            .map(|(_, value)| value.as_str())
    }

    /// The first value of a parameter; empty when it is absent.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    /// Whether a parameter is set to something other than `0` and `false`. As on real servers a parameter without a
    /// value counts as true.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.get(name)
            .is_some_and(|value| value != "0" && !value.eq_ignore_ascii_case("false"))
    }

    /// A number.
    pub(crate) fn integer(&self, name: &str) -> Result<Option<i64>, Status> {
        match self.get(name) {
            None | Some("") => Ok(None),
            Some(text) => text
                .parse()
                .map(Some)
                .map_err(|_| Status::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))),
        }
    }

    fn all(&self, name: &str) -> Vec<&str> {
        self.0
            .iter()
            .filter(|(have, _)| have == name)
            .map(|(_, value)| value.as_str())
            .collect()
    }
}

/// Percent-decodes; `plus` says whether `+` means a space, as in queries. What is no UTF-8 is replaced.
pub(crate) fn decode(text: &str, plus: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = |offset: usize| bytes.get(at + offset).and_then(|b| char::from(*b).to_digit(16));
        match (bytes[at], hex(1), hex(2)) {
            (b'%', Some(high), Some(low)) => {
                out.push(u8::try_from(high * 16 + low).unwrap_or_default());
                at += 3;
            }
            (b'+', _, _) if plus => {
                out.push(b' ');
                at += 1;
            }
            (byte, _, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// What to do with fields that the schema does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FieldValidation {
    /// Drop them.
    Ignore,
    /// Drop them and warn: the default.
    Warn,
    /// Refuse the request.
    Strict,
}

/// The options of a write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WriteOptions {
    /// Everything happens but the write itself.
    pub(crate) dry_run: bool,
    /// What to do with unknown fields.
    pub(crate) validation: FieldValidation,
}

impl WriteOptions {
    /// Reads them; `kind` is `CreateOptions`, `UpdateOptions` or `PatchOptions`.
    pub(crate) fn parse(query: &Query, kind: &str) -> Result<WriteOptions, Status> {
        let mut errors = Vec::new();
        let dry_run = dry_run(&query.all("dryRun"), &mut errors);
        let validation = match query.text("fieldValidation") {
            "" | "Warn" => FieldValidation::Warn,
            "Ignore" => FieldValidation::Ignore,
            "Strict" => FieldValidation::Strict,
            other => {
                errors.push(FieldError::not_supported(
                    "fieldValidation",
                    &other.into(),
                    &["", "Ignore", "Strict", "Warn"],
                ));
                FieldValidation::Warn
            }
        };
        if kind == "PatchOptions" && query.get("force").is_some() {
            errors.push(FieldError::forbidden(
                "force",
                "may not be specified for non-apply patch",
            ));
        }
        if query.text("fieldManager").len() > 128 {
            errors.push(FieldError::too_long("fieldManager", 128));
        }
        finish(kind, &errors)?;
        Ok(WriteOptions { dry_run, validation })
    }
}

fn dry_run(values: &[&str], errors: &mut Vec<FieldError>) -> bool {
    let values: Vec<&str> = values.iter().copied().filter(|value| !value.is_empty()).collect();
    if values.iter().any(|value| *value != "All") {
        errors.push(FieldError::not_supported("dryRun", &Value::from(values), &["All"]));
        return false;
    }
    !values.is_empty()
}

fn finish(kind: &str, errors: &[FieldError]) -> Result<(), Status> {
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Status::invalid("meta.k8s.io", kind, "", errors))
    }
}

/// What becomes of dependents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Propagation {
    /// The object goes at once, its dependents later.
    Background,
    /// The dependents go first.
    Foreground,
    /// The dependents stay.
    Orphan,
}

/// The options of a deletion.
#[derive(Clone, Debug, Default)]
pub(crate) struct DeleteOptions {
    pub(crate) dry_run: bool,
    pub(crate) uid: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) propagation: Option<Propagation>,
}

impl DeleteOptions {
    /// Reads them from the body when there is one, else from the query.
    pub(crate) fn parse(query: &Query, body: &[u8]) -> Result<DeleteOptions, Status> {
        let mut errors = Vec::new();
        let mut options = DeleteOptions::default();
        let orphan;
        let policy;
        if body.is_empty() {
            options.dry_run = dry_run(&query.all("dryRun"), &mut errors);
            orphan = query.get("orphanDependents").map(|_| query.flag("orphanDependents"));
            policy = query
                .get("propagationPolicy")
                .filter(|policy| !policy.is_empty())
                .map(str::to_owned);
            query.integer("gracePeriodSeconds")?;
        } else {
            let value: Value = serde_json::from_slice(body).map_err(|error| {
                let why = crate::body::why(&error);
                Status::bad_request(format!("couldn't get version/kind; json parse error: {why}"))
            })?;
            let text = |value: Option<&Value>, what: &str| match value {
                None | Some(Value::Null) => Ok(None),
                Some(Value::String(text)) => Ok(Some(text.clone())),
                Some(_) => Err(Status::bad_request(format!("DeleteOptions: {what} must be a string"))),
            };
            if !value.is_object() {
                return Err(Status::bad_request("DeleteOptions must be a JSON object"));
            }
            if let Some(kind) = text(value.get("kind"), "kind")?
                && kind != "DeleteOptions"
            {
                let message = format!("{kind} in the body of a deletion: expected DeleteOptions");
                return Err(Status::bad_request(message));
            }
            let wishes: Vec<&str> = value
                .get("dryRun")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            options.dry_run = dry_run(&wishes, &mut errors);
            orphan = value.get("orphanDependents").and_then(Value::as_bool);
            policy = text(value.get("propagationPolicy"), "propagationPolicy")?;
            if let Some(preconditions) = value.get("preconditions") {
                options.uid = text(preconditions.get("uid"), "preconditions.uid")?;
                options.version = text(preconditions.get("resourceVersion"), "preconditions.resourceVersion")?;
            }
        }
        options.propagation = match policy.as_deref() {
            None => None,
            Some("Background") => Some(Propagation::Background),
            Some("Foreground") => Some(Propagation::Foreground),
            Some("Orphan") => Some(Propagation::Orphan),
            Some(other) => {
                let supported = ["Foreground", "Background", "Orphan", "nil"];
                errors.push(FieldError::not_supported(
                    "propagationPolicy",
                    &other.into(),
                    &supported,
                ));
                None
            }
        };
        if let Some(orphan) = orphan {
            if let Some(policy) = &policy {
                errors.push(FieldError::invalid(
                    "propagationPolicy",
                    &policy.as_str().into(),
                    "orphanDependents and deletionPropagation cannot be both set",
                ));
            }
            options.propagation = Some(if orphan {
                Propagation::Orphan
            } else {
                Propagation::Background
            });
        }
        finish("DeleteOptions", &errors)?;
        Ok(options)
    }
}

/// How the version of a list is to be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VersionMatch {
    /// Just this version.
    Exact,
    /// This one or a later one.
    NotOlderThan,
}

/// The options of a list or watch that are not selectors.
#[derive(Clone, Debug)]
pub(crate) struct ListOptions {
    pub(crate) limit: usize,
    pub(crate) continue_token: String,
    /// The version as sent: empty, `0`, or a number.
    pub(crate) version: String,
    pub(crate) version_match: Option<VersionMatch>,
    pub(crate) bookmarks: bool,
    /// `sendInitialEvents`, when it was given.
    pub(crate) initial_events: Option<bool>,
    /// Seconds after which a watch ends.
    pub(crate) timeout: Option<u64>,
}

impl ListOptions {
    /// Reads them and holds them against the rules of lists, or of watches.
    pub(crate) fn parse(query: &Query, watch: bool) -> Result<ListOptions, Status> {
        let mut errors = Vec::new();
        let version = query.text("resourceVersion");
        let version_match = match query.text("resourceVersionMatch") {
            "" => None,
            "Exact" => Some(VersionMatch::Exact),
            "NotOlderThan" => Some(VersionMatch::NotOlderThan),
            other => {
                let supported = ["Exact", "NotOlderThan", ""];
                errors.push(FieldError::not_supported(
                    "resourceVersionMatch",
                    &other.into(),
                    &supported,
                ));
                None
            }
        };
        let given = !query.text("resourceVersionMatch").is_empty() && errors.is_empty();
        let initial_events = query.get("sendInitialEvents").map(|_| query.flag("sendInitialEvents"));
        let forbid = |errors: &mut Vec<FieldError>, field: &str, why: &str| {
            errors.push(FieldError::forbidden(field, why));
        };
        let matching = "resourceVersionMatch";
        if watch {
            if given && initial_events.is_none() {
                let why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
                forbid(&mut errors, matching, why);
            }
            if initial_events.is_some() && version_match != Some(VersionMatch::NotOlderThan) && errors.is_empty() {
                let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
                forbid(&mut errors, matching, why);
            }
        } else {
            if initial_events.is_some() {
                forbid(
                    &mut errors,
                    "sendInitialEvents",
                    "sendInitialEvents is forbidden for list",
                );
            }
            if given && version.is_empty() {
                forbid(
                    &mut errors,
                    matching,
                    "resourceVersionMatch is forbidden unless resourceVersion is provided",
                );
            }
            if given && !query.text("continue").is_empty() {
                forbid(
                    &mut errors,
                    matching,
                    "resourceVersionMatch is forbidden when continue is provided",
                );
            }
            if version_match == Some(VersionMatch::Exact) && version == "0" {
                let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
                forbid(&mut errors, matching, why);
            }
        }
        finish("ListOptions", &errors)?;
        Ok(ListOptions {
            limit: usize::try_from(query.integer("limit")?.unwrap_or_default()).unwrap_or_default(),
            continue_token: query.text("continue").to_owned(),
            version: version.to_owned(),
            version_match,
            bookmarks: query.flag("allowWatchBookmarks"),
            initial_events,
            timeout: query
                .integer("timeoutSeconds")?
                .and_then(|seconds| u64::try_from(seconds).ok()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_queries_are_read_as_real_servers_read_them() {
        let query = Query::parse("?&a=b&&c=%2Fx+y&d&e=%zz&watch=1&f=%ff");
        assert_eq!(query.get("c"), Some("/x y"));
        assert_eq!(query.get("d"), Some(""));
        assert_eq!(query.get("e"), Some("%zz"));
        assert_eq!(query.get("f"), Some("\u{fffd}"));
        assert!(query.flag("watch") && query.flag("d") && !query.flag("nothing"));
    }
}
