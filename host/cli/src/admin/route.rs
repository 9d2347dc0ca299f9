//! Requests of the admin API, taken apart. Pure.
//!
//! All that is asked stands in the path and the query: bodies are never read.

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use http::{Method, StatusCode};
use percent_encoding::percent_decode_str;
use pilothouse_controller::{ControllerId, MAX_KEYS, ParkedSpot};
use pilothouse_object::{Key, escape_control};

/// How long an order is waited for, if nothing is said, and at most; in seconds.
const WAIT: u64 = 30;
/// The most of it.
pub(crate) const MAX_WAIT: u64 = 300;

/// Keys of an answer, if nothing is said.
const LIMIT: usize = 100;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Status {
        /// With what costs more to find out.
        detail: bool,
    },
    Plugin {
        name: String,
    },
    Order {
        name: String,
        order: Ask,
        /// How long to wait until it is followed.
        wait: Duration,
    },
    Queue {
        name: String,
        controller: Option<String>,
        limit: usize,
    },
    Parked {
        chosen: Owned,
        from: Option<ParkedSpot>,
        limit: usize,
    },
    /// Parked keys are to be tried again, or forgotten.
    Release {
        chosen: Owned,
        forget: bool,
    },
}

/// What a plugin is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Enable,
    Disable,
    Rollback,
    /// A hash, or the first digits of one.
    Promote(String),
    /// Its breaker is closed, and it leaves quarantine.
    Reset,
}

/// Parked keys that are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Owned {
    pub(crate) plugin: Option<String>,
    pub(crate) controller: Option<String>,
    pub(crate) key: Option<Key>,
}

/// What is wrong with a request.
pub(crate) type Wrong = (StatusCode, String);

/// `NAMESPACE/NAME`, or `NAME` of what belongs to no namespace.
pub(crate) fn key(text: &str) -> Option<Key> {
    let (namespace, name) = match text.split_once('/') {
        Some((namespace, name)) => (Some(namespace), name),
        None => (None, text),
    };
    let fits = |part: &str| (1..=253).contains(&part.len()) && !part.contains('/');
    (fits(name) && namespace.is_none_or(fits)).then(|| Key::new(namespace, name))
}

/// What a request asks for.
///
/// # Errors
/// The status, and a message with the mend.
pub(crate) fn asked(method: &Method, path: &str, query: Option<&str>) -> Result<Asked, Wrong> {
    let parts: Vec<&str> = path.split('/').collect();
    let mut query = Query::read(query)?;
    let reads = matches!(*method, Method::GET | Method::HEAD);
    let only = |wanted: bool| {
        let message = format!("{} is asked for with another method", escape_control(path));
        wanted.then_some(()).ok_or((StatusCode::METHOD_NOT_ALLOWED, message))
    };
    let asked = match parts[..] {
        ["", "v1", "status"] => {
            only(reads)?;
            Asked::Status {
                detail: query.flag("detail")?,
            }
        }
        ["", "v1", "plugins", name] => {
            only(reads)?;
            Asked::Plugin { name: plugin(name)? }
        }
        ["", "v1", "plugins", name, order] => {
            let order = match order {
                "enable" => Ask::Enable,
                "disable" => Ask::Disable,
                "rollback" => Ask::Rollback,
                "reset" => Ask::Reset,
                "promote" => Ask::Promote(
                    query
                        .take("version")
                        .ok_or_else(|| bad("promote what? ?version=HASH"))?,
                ),
                _ => return Err(not_found()),
            };
            only(*method == Method::POST)?;
            let wait = query.number("wait", WAIT, MAX_WAIT)?;
            Asked::Order {
                name: plugin(name)?,
                order,
                wait: Duration::from_secs(wait),
            }
        }
        ["", "v1", "queues", name] => {
            only(reads)?;
            Asked::Queue {
                name: plugin(name)?,
                controller: query.take("controller"),
                limit: query.limit()?,
            }
        }
        ["", "v1", "parked"] => {
            only(reads)?;
            Asked::Parked {
                from: query.take("continue").map(|text| spot(&text)).transpose()?,
                limit: query.limit()?,
                chosen: query.chosen()?,
            }
        }
        ["", "v1", "parked", what @ ("retry" | "drop")] => {
            only(*method == Method::POST)?;
            let all = query.flag("all")?;
            let chosen = query.chosen()?;
            if all == chosen.key.is_some() {
                return Err(bad("which keys? ?plugin=NAME&key=NAMESPACE/NAME, or ?all=true"));
            }
            Asked::Release {
                chosen,
                forget: what == "drop",
            }
        }
        _ => return Err(not_found()),
    };
    query.nothing_left()?;
    Ok(asked)
}

/// As it stands in an answer, for the next request.
pub(crate) fn spot_text(spot: &ParkedSpot) -> String {
    format!(
        "{}/{}/{}",
        spot.controller.plugin, spot.controller.controller, spot.place
    )
}

fn spot(text: &str) -> Result<ParkedSpot, Wrong> {
    let mut parts = text.splitn(3, '/');
    let spot = (|| {
        let controller = ControllerId::new(parts.next()?, parts.next()?);
        let place = parts.next()?.parse().ok()?;
        Some(ParkedSpot { controller, place })
    })();
    spot.ok_or_else(|| bad("`continue` is what the last answer had under that name"))
}

fn bad(message: impl Into<String>) -> Wrong {
    (StatusCode::BAD_REQUEST, message.into())
}

fn not_found() -> Wrong {
    let message = "there are /v1/status, /v1/plugins/NAME, /v1/queues/NAME and /v1/parked";
    (StatusCode::NOT_FOUND, message.to_owned())
}

fn plugin(name: &str) -> Result<String, Wrong> {
    let name = decoded(name)?;
    let fits = (1..=63).contains(&name.len());
    fits.then(|| name.into_owned())
        .ok_or_else(|| bad("a plugin's name has 1 to 63 letters"))
}

fn decoded(text: &str) -> Result<Cow<'_, str>, Wrong> {
    percent_decode_str(text).decode_utf8().map_err(|_| bad("is not UTF-8"))
}

/// The query's parameters, each taken once.
struct Query(BTreeMap<String, String>);

impl Query {
    fn read(query: Option<&str>) -> Result<Self, Wrong> {
        let mut all = BTreeMap::new();
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decoded(name)?.into_owned(), decoded(value)?.into_owned());
            if all.insert(name.clone(), value).is_some() {
                return Err(bad(format!("{} is given twice", escape_control(&name))));
            }
        }
        Ok(Self(all))
    }

    fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name).filter(|value| !value.is_empty())
    }

    fn flag(&mut self, name: &str) -> Result<bool, Wrong> {
        match self.take(name).as_deref() {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(bad(format!("{name} is true or false"))),
        }
    }

    fn number(&mut self, name: &str, default: u64, most: u64) -> Result<u64, Wrong> {
        let Some(text) = self.take(name) else {
            return Ok(default);
        };
        let number = text.parse().ok().filter(|number| *number <= most);
        number.ok_or_else(|| bad(format!("{name} is a number from 0 to {most}")))
    }

    fn limit(&mut self) -> Result<usize, Wrong> {
        let limit = self.number("limit", LIMIT as u64, MAX_KEYS as u64)?;
        Ok(usize::try_from(limit).unwrap_or(LIMIT).max(1))
    }

    fn chosen(&mut self) -> Result<Owned, Wrong> {
        let key = match self.take("key") {
            None => None,
            Some(text) => Some(key(&text).ok_or_else(|| bad("a key is NAMESPACE/NAME, or NAME alone"))?),
        };
        Ok(Owned {
            plugin: self.take("plugin"),
            controller: self.take("controller"),
            key,
        })
    }

    fn nothing_left(self) -> Result<(), Wrong> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(name) => Err(bad(format!("the parameter {} is unknown here", escape_control(name)))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(path: &str, query: &str) -> Result<Asked, Wrong> {
        asked(&Method::GET, path, Some(query))
    }

    fn post(path: &str, query: &str) -> Result<Asked, Wrong> {
        asked(&Method::POST, path, Some(query))
    }

    #[test]
    fn what_can_be_asked_is_taken_apart() {
        assert_eq!(get("/v1/status", ""), Ok(Asked::Status { detail: false }));
        assert_eq!(get("/v1/status", "detail=true"), Ok(Asked::Status { detail: true }));
        let promote = post("/v1/plugins/a/promote", "version=abcdef&wait=0");
        assert_eq!(
            promote,
            Ok(Asked::Order {
                name: "a".to_owned(),
                order: Ask::Promote("abcdef".to_owned()),
                wait: Duration::ZERO
            })
        );
        let spot = ParkedSpot {
            controller: ControllerId::new("a", "b"),
            place: 7,
        };
        let parked = get("/v1/parked", &format!("limit=3&continue={}", spot_text(&spot)));
        assert_eq!(
            parked,
            Ok(Asked::Parked {
                chosen: Owned::default(),
                from: Some(spot),
                limit: 3
            })
        );
        let retry = post("/v1/parked/retry", "plugin=a&key=ns%2Fname");
        let chosen = Owned {
            plugin: Some("a".to_owned()),
            controller: None,
            key: Some(Key::new(Some("ns"), "name")),
        };
        assert_eq!(retry, Ok(Asked::Release { chosen, forget: false }));
    }

    #[test]
    fn what_changes_something_is_posted_and_what_reads_is_not() {
        for path in ["/v1/plugins/a/enable", "/v1/parked/drop"] {
            assert_eq!(get(path, "all=true").unwrap_err().0, StatusCode::METHOD_NOT_ALLOWED);
        }
        for path in ["/v1/status", "/v1/plugins/a", "/v1/queues/a", "/v1/parked"] {
            assert_eq!(post(path, "").unwrap_err().0, StatusCode::METHOD_NOT_ALLOWED);
        }
    }

    #[test]
    fn rubbish_is_refused_with_what_is_wrong() {
        let long = format!("/v1/plugins/{}", "x".repeat(64));
        for (path, query, status) in [
            ("/", "", 404),
            ("", "", 404),
            ("/v1/plugins/a/explode", "", 404),
            ("/v1/status/more", "", 404),
            ("/v1/plugins/", "", 400),
            (&long, "", 400),
            ("/v1/plugins/%ff", "", 400),
            ("/v1/status", "detail=perhaps", 400),
            ("/v1/status", "verbose=true", 400),
            ("/v1/status", "detail=true&detail=true", 400),
            ("/v1/parked", "limit=501", 400),
            ("/v1/parked", "limit=-1", 400),
            ("/v1/parked", "continue=a/b", 400),
            ("/v1/parked", "continue=a/b/99999999999999999999999", 400),
            ("/v1/parked", "key=a/b/c", 400),
            ("/v1/parked", "key=/", 400),
        ] {
            let (code, message) = get(path, query).unwrap_err();
            assert_eq!(code.as_u16(), status, "{path}?{query}: {message}");
        }
        // Everything, or one: not by leaving something out.
        for query in ["", "plugin=a", "all=true&key=a/b"] {
            assert_eq!(post("/v1/parked/drop", query).unwrap_err().0, StatusCode::BAD_REQUEST);
        }
    }
}
