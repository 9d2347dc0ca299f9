//! Paths of the API server. Nothing that a guest says leaves its segment.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use pilothouse_informer::Resource;
use pilothouse_object::{Gvk, check_path_segment};
use pilothouse_runtime::{ApiError, reason};

/// What may stand in a path segment or query value as it is.
const KEEP: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b':');

/// The path of an object, of a collection (`name` none), or of an object's subresource, with a query behind it.
pub(crate) fn uri(
    gvk: &Gvk,
    resource: &Resource,
    namespace: Option<&str>,
    name: Option<&str>,
    subresource: Option<&str>,
    query: &[(&str, &str)],
) -> Result<String, ApiError> {
    let bad = |message: String| ApiError::of_host(reason::DENIED, message);
    for segment in [namespace, name, subresource].into_iter().flatten() {
        check_path_segment(segment).map_err(|error| bad(error.to_string()))?;
    }
    let mut uri = if gvk.group.is_empty() {
        "/api/".to_owned()
    } else {
        format!("/apis/{}/", utf8_percent_encode(&gvk.group, KEEP))
    };
    uri.extend(utf8_percent_encode(&gvk.version, KEEP));
    if let Some(namespace) = namespace {
        if !resource.namespaced {
            return Err(bad(format!("{} is cluster-scoped: leave the namespace out", gvk.kind)));
        }
        uri.push_str("/namespaces/");
        uri.extend(utf8_percent_encode(namespace, KEEP));
    } else if resource.namespaced && name.is_some() {
        return Err(bad(format!("{} lives in namespaces: name the object's", gvk.kind)));
    }
    uri.push('/');
    uri.push_str(&resource.plural);
    for segment in [name, subresource].into_iter().flatten() {
        uri.push('/');
        uri.extend(utf8_percent_encode(segment, KEEP));
    }
    for (i, (key, value)) in query.iter().enumerate() {
        uri.push(if i == 0 { '?' } else { '&' });
        uri.push_str(key);
        uri.push('=');
        uri.extend(utf8_percent_encode(value, KEEP));
    }
    Ok(uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn widgets(
        namespace: Option<&str>,
        name: Option<&str>,
        subresource: Option<&str>,
        query: &[(&str, &str)],
    ) -> Result<String, ApiError> {
        let resource = Resource {
            plural: "widgets".into(),
            namespaced: true,
        };
        uri(
            &Gvk::new("ex.io", "v1", "Widget"),
            &resource,
            namespace,
            name,
            subresource,
            query,
        )
    }

    fn nodes(namespace: Option<&str>, name: Option<&str>) -> Result<String, ApiError> {
        let resource = Resource {
            plural: "nodes".into(),
            namespaced: false,
        };
        uri(&Gvk::new("", "v1", "Node"), &resource, namespace, name, None, &[])
    }

    #[test]
    fn paths_are_the_api_servers() {
        assert_eq!(nodes(None, Some("n1")).unwrap(), "/api/v1/nodes/n1");
        assert_eq!(
            widgets(
                Some("a"),
                Some("w"),
                Some("status"),
                &[("fieldManager", "pilothouse/x"), ("force", "true")]
            )
            .unwrap(),
            "/apis/ex.io/v1/namespaces/a/widgets/w/status?fieldManager=pilothouse%2Fx&force=true"
        );
        assert_eq!(widgets(None, None, None, &[]).unwrap(), "/apis/ex.io/v1/widgets");
    }

    #[test]
    fn a_name_from_a_guest_cannot_leave_its_segment() {
        for bad in ["../secrets", "..", "a/b", "a%2fb", ""] {
            assert!(widgets(Some("a"), Some(bad), None, &[]).is_err(), "{bad:?}");
            assert!(widgets(Some(bad), Some("w"), None, &[]).is_err(), "{bad:?}");
        }
        let odd = widgets(Some("a"), Some("w?x=1#y z"), None, &[]).unwrap();
        assert_eq!(odd, "/apis/ex.io/v1/namespaces/a/widgets/w%3Fx%3D1%23y%20z");
    }

    #[test]
    fn namespaced_kinds_need_a_namespace_and_others_refuse_one() {
        assert!(
            widgets(None, Some("w"), None, &[])
                .unwrap_err()
                .message
                .contains("lives in namespaces")
        );
        assert!(
            nodes(Some("a"), Some("n"))
                .unwrap_err()
                .message
                .contains("cluster-scoped")
        );
    }
}
