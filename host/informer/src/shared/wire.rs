//! What a need looks like in a request, and how its answer is read.

use pilothouse_object::Gvk;

use crate::{driver::transport::encode, read::Format, shared::need::Need, view::Projection};

const JSON: &str = "application/json";
// The second of each is for servers that know no partial answers: what they send whole is cut here.
const PARTIAL_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";
const PARTIAL: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";

/// How a watch asks for what it needs.
#[derive(Clone, Debug)]
pub struct Wire {
    /// How the answer is read, and what is kept of it.
    pub format: Format,
    /// `labelSelector` and `fieldSelector`, encoded.
    query: String,
    partial: bool,
}

impl Wire {
    /// For this need, and a field selector that the server alone can evaluate.
    pub fn new(kind: &Gvk, need: &Need, fields: Option<&str>) -> Self {
        let mut query = String::new();
        let mut add = |name: &str, value: &str| {
            if !query.is_empty() {
                query.push('&');
            }
            query.push_str(name);
            query.push('=');
            encode(&mut query, value);
        };
        if !need.selector.is_everything() {
            add("labelSelector", &need.selector.to_string());
        }
        let name = need.name.as_ref().map(|name| format!("metadata.name={}", escape(name)));
        let fields: Vec<&str> = name.as_deref().into_iter().chain(fields).collect();
        if !fields.is_empty() {
            add("fieldSelector", &fields.join(","));
        }
        Self {
            format: Format {
                gvk: kind.clone(),
                keep: need.keep(kind),
            },
            query,
            partial: need.projection == Projection::Metadata,
        }
    }

    /// A path, with or without a query, and the selectors.
    pub fn select(&self, mut path: String) -> String {
        if !self.query.is_empty() {
            path.push(if path.contains('?') { '&' } else { '?' });
            path.push_str(&self.query);
        }
        path
    }

    /// The `Accept` header of a list, or of a watch.
    pub fn accept(&self, list: bool) -> &'static str {
        match (self.partial, list) {
            (false, _) => JSON,
            (true, true) => PARTIAL_LIST,
            (true, false) => PARTIAL,
        }
    }
}

/// A value in a field selector, as `fields.EscapeValue` of Kubernetes has it.
fn escape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for c in value.chars() {
        if matches!(c, '\\' | ',' | '=') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use pilothouse_object::{Keep, LabelSelector};

    use super::*;
    use crate::testing::gvk;

    fn wire(need: Need, fields: Option<&str>) -> Wire {
        Wire::new(&gvk(), &need, fields)
    }

    #[test]
    fn selectors_stand_in_the_query_and_can_not_leave_it() {
        let need = Need {
            selector: LabelSelector::parse("app in (b,a),!ex.io/x,n>3,e!=").unwrap(),
            name: Some("x&limit=1,a=b\\".into()),
            ..Need::default()
        };
        let asked = wire(need, Some("spec.nodeName=n#?é"));
        assert_eq!(
            asked.select("/p?limit=5".to_owned()),
            "/p?limit=5&labelSelector=app%20in%20%28a%2Cb%29%2C%21ex.io%2Fx%2Cn%3E3%2Ce%21%3D\
             &fieldSelector=metadata.name%3Dx%26limit%5C%3D1%5C%2Ca%5C%3Db%5C%5C%2Cspec.nodeName%3Dn%23%3F%C3%A9"
        );
        assert_eq!(wire(Need::default(), None).select("/p".to_owned()), "/p");
        let named = Need {
            name: Some("x".into()),
            ..Need::default()
        };
        assert_eq!(
            wire(named, None).select("/p".to_owned()),
            "/p?fieldSelector=metadata.name%3Dx"
        );
    }

    #[test]
    fn who_needs_metadata_alone_asks_for_no_more_where_the_server_can_do_it() {
        let need = Need {
            projection: Projection::Metadata,
            ..Need::default()
        };
        let asked = wire(need, None);
        assert!(
            asked
                .accept(true)
                .starts_with("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,")
        );
        assert!(
            asked
                .accept(false)
                .starts_with("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,")
        );
        assert_eq!(asked.format.keep, Keep::Metadata);
        assert_eq!(wire(Need::default(), None).accept(true), "application/json");
    }
}
