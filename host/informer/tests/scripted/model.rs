//! A small API server of one kind as a value: what it holds is a history of events, and its answers follow from that.

use crate::oracle::Held;

/// One change. Version 0 of the history is an empty server.
#[derive(Clone)]
pub(crate) struct Past {
    pub(crate) version: u64,
    pub(crate) kind: &'static str,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) json: String,
}

/// What the server has been through.
#[derive(Clone, Default)]
pub(crate) struct Model {
    pub(crate) past: Vec<Past>,
    /// The version that an answer from the server's cache (`0`) has; what came later follows as events.
    pub(crate) cached: u64,
}

pub(crate) fn widget(name: &str, uid: &str, version: u64, extra: &str) -> String {
    format!(
        r#"{{"apiVersion":"ex.io/v1","kind":"Widget","metadata":{{"name":"{name}","namespace":"a","uid":"{uid}","resourceVersion":"{version}"}}{extra}}}"#
    )
}

pub(crate) fn line(kind: &str, object: &str) -> String {
    format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n")
}

pub(crate) fn bookmark(version: u64, initial_end: bool) -> String {
    let mark = match initial_end {
        true => r#","annotations":{"k8s.io/initial-events-end":"true"}"#,
        false => "",
    };
    line(
        "BOOKMARK",
        &format!(r#"{{"kind":"Widget","apiVersion":"ex.io/v1","metadata":{{"resourceVersion":"{version}"{mark}}}}}"#),
    )
}

pub(crate) fn list(version: &str, items: &[String]) -> String {
    format!(
        r#"{{"kind":"WidgetList","apiVersion":"ex.io/v1","metadata":{{"resourceVersion":"{version}"}},"items":[{}]}}"#,
        items.join(",")
    )
}

pub(crate) const EXPIRED: &str =
    r#"{"kind":"Status","message":"too old resource version: 1 (86)","reason":"Expired","code":410}"#;

impl Model {
    pub(crate) fn put(&mut self, kind: &'static str, name: &str, uid: &str, extra: &str) -> &mut Self {
        let version = self.version() + 1;
        self.past.push(Past {
            version,
            kind,
            name: name.to_owned(),
            uid: uid.to_owned(),
            json: widget(name, uid, version, extra),
        });
        self
    }

    pub(crate) fn version(&self) -> u64 {
        self.past.last().map_or(0, |past| past.version)
    }

    /// What there was at a version, by name.
    pub(crate) fn at(&self, version: u64) -> Vec<&Past> {
        let mut names = std::collections::BTreeMap::new();
        for past in self.past.iter().filter(|past| past.version <= version) {
            match past.kind {
                "DELETED" => names.remove(&past.name),
                _ => names.insert(&past.name, past),
            };
        }
        names.into_values().collect()
    }

    /// What there is now.
    pub(crate) fn held(&self) -> Held {
        self.at(self.version())
            .into_iter()
            .map(|past| (format!("a/{}", past.name), (past.uid.clone(), past.version.to_string())))
            .collect()
    }

    fn events(&self, after: u64) -> String {
        let events = self.past.iter().filter(|past| past.version > after);
        events.map(|past| line(past.kind, &past.json)).collect()
    }

    /// The body that a request gets, and whether more may follow it (a watch).
    pub(crate) fn answer(&self, path: &str) -> (String, bool) {
        let query = |name: &str| {
            let (_, query) = path.split_once('?')?;
            query
                .split('&')
                .find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
        };
        let version = match query("resourceVersion") {
            Some("0") => self.cached,
            _ => self.version(),
        };
        if path == "/apis/ex.io/v1" {
            let body =
                r#"{"resources":[{"name":"widgets","kind":"Widget","namespaced":true,"verbs":["list","watch"]}]}"#;
            return (body.to_owned(), false);
        }
        if query("watch") != Some("true") {
            let items: Vec<String> = self.at(version).into_iter().map(|past| past.json.clone()).collect();
            return (list(&version.to_string(), &items), false);
        }
        if query("sendInitialEvents") == Some("true") {
            let initial: String = self
                .at(version)
                .into_iter()
                .map(|past| line("ADDED", &past.json))
                .collect();
            return (initial + &bookmark(version, true) + &self.events(version), true);
        }
        let after = query("resourceVersion").and_then(|version| version.parse().ok());
        (self.events(after.unwrap_or_default()), true)
    }
}

/// A history with everything in it: additions, changes, a deletion before and one behind the cached version, an object
/// made anew under its name, text that a reader of JSON could stumble over.
pub(crate) fn eventful() -> Model {
    let mut model = Model::default();
    let odd = r#","spec":{"text":"]}\"\\ \u00e9 \n {[","n":-1.50e3,"none":null}"#;
    model
        .put("ADDED", "x", "u1", "")
        .put("ADDED", "y", "u2", odd)
        .put("ADDED", "z", "u3", "");
    model.put("DELETED", "z", "u3", "").put("MODIFIED", "x", "u1", odd);
    model.cached = model.version();
    model
        .put("ADDED", "w", "u4", "")
        .put("MODIFIED", "y", "u2", "")
        .put("DELETED", "x", "u1", "");
    model.put("ADDED", "x", "u5", "").put("MODIFIED", "w", "u4", odd);
    model
}
