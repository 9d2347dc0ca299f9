//! Pods as a real server writes them: about 4 KB each, three tenths of it managedFields.

use std::fmt::Write as _;

use pilothouse_informer::IndexSpec;
use pilothouse_object::{FieldPath, Gvk};

/// How many there are.
pub const PODS: usize = 20_000;

/// Pods that belong to one owner.
const REPLICAS: usize = 8;
/// Owners in one namespace.
const OWNERS: usize = 25;
/// Nodes of the cluster.
const NODES: usize = 400;

/// The kind.
pub fn gvk() -> Gvk {
    Gvk::new("", "v1", "Pod")
}

/// Three indexes as plugins declare them: by node, by a label, by the ConfigMaps that are mounted.
pub fn indexes() -> Vec<IndexSpec> {
    [
        ("by-node", "spec.nodeName"),
        ("by-app", "metadata.labels['app.kubernetes.io/name']"),
        ("by-config", "spec.volumes[*].configMap.name"),
    ]
    .into_iter()
    .map(|(name, path)| IndexSpec {
        name: name.to_owned(),
        paths: vec![FieldPath::parse(path).unwrap_or_else(|error| panic!("{error}"))],
    })
    .collect()
}

/// Numbers that look like chance and are the same each time.
fn mixed(i: usize, salt: u64) -> u64 {
    let mut x = (i as u64).wrapping_add(salt << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x ^= x >> 29;
    x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^ (x >> 32)
}

fn uid(i: usize, salt: u64) -> String {
    let (a, b) = (mixed(i, salt), mixed(i, salt + 1));
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        a >> 32,
        a & 0xffff,
        (a >> 16) & 0xfff,
        0x8000 | (b & 0x3fff),
        b >> 16
    )
}

/// One pod's JSON; its version is part of it, and what a kubelet reports changes with that.
pub fn pod(i: usize, version: u64) -> String {
    let owner = i / REPLICAS;
    let namespace = format!("team-{:03}", owner / OWNERS);
    let app = format!("service-{:02}", owner % OWNERS);
    let hash = format!("{:010x}", mixed(owner, 7) & 0xff_ffff_ffff);
    let name = format!("{app}-{hash}-{:05x}", mixed(i, 9) & 0xf_ffff);
    let node = format!("worker-{:03}.eu-central.example.net", mixed(i, 11) as usize % NODES);
    let (minute, second) = (version / 60 % 60, version % 60);
    let ip = mixed(i, 13);
    let mut out = String::with_capacity(4_608);
    // Writing to a String can't fail.
    let _ = write!(
        out,
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}","generateName":"{app}-{hash}-","namespace":"{namespace}","uid":"{}","resourceVersion":"{version}","generation":1,"creationTimestamp":"2026-11-02T08:15:42Z","labels":{{"app.kubernetes.io/name":"{app}","app.kubernetes.io/instance":"{app}-live","app.kubernetes.io/version":"1.{}.{}","pod-template-hash":"{hash}","topology.kubernetes.io/zone":"eu-central-{}"}},"annotations":{{"checksum/config":"{:016x}{:016x}{:016x}{:016x}","prometheus.io/scrape":"true","prometheus.io/port":"9102"}},"ownerReferences":[{{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"{app}-{hash}","uid":"{}","controller":true,"blockOwnerDeletion":true}}],"#,
        uid(i, 21),
        owner % 9,
        owner % 31,
        i % 3,
        mixed(owner, 31),
        mixed(owner, 32),
        mixed(owner, 33),
        mixed(owner, 34),
        uid(owner, 41),
    );
    let _ = write!(
        out,
        r#""managedFields":[{{"manager":"kube-controller-manager","operation":"Update","apiVersion":"v1","time":"2026-11-02T08:15:42Z","fieldsType":"FieldsV1","fieldsV1":{{"f:metadata":{{"f:annotations":{{".":{{}},"f:checksum/config":{{}},"f:prometheus.io/port":{{}},"f:prometheus.io/scrape":{{}}}},"f:generateName":{{}},"f:labels":{{".":{{}},"f:app.kubernetes.io/instance":{{}},"f:app.kubernetes.io/name":{{}},"f:pod-template-hash":{{}}}},"f:ownerReferences":{{".":{{}},"k:{{\"uid\":\"{}\"}}":{{}}}}}},"f:spec":{{"f:containers":{{"k:{{\"name\":\"{app}\"}}":{{".":{{}},"f:image":{{}},"f:imagePullPolicy":{{}},"f:name":{{}},"f:ports":{{".":{{}},"k:{{\"containerPort\":8080,\"protocol\":\"TCP\"}}":{{".":{{}},"f:containerPort":{{}},"f:name":{{}},"f:protocol":{{}}}}}},"f:resources":{{}}}}}},"f:restartPolicy":{{}}}}}}}},{{"manager":"kubelet","operation":"Update","apiVersion":"v1","time":"2026-11-02T09:{minute:02}:{second:02}Z","fieldsType":"FieldsV1","fieldsV1":{{"f:status":{{"f:conditions":{{"k:{{\"type\":\"Ready\"}}":{{".":{{}},"f:lastTransitionTime":{{}},"f:status":{{}}}}}},"f:containerStatuses":{{}},"f:hostIP":{{}},"f:phase":{{}},"f:podIP":{{}}}}}},"subresource":"status"}}]}},"#,
        uid(owner, 41),
    );
    let _ = write!(
        out,
        r#""spec":{{"volumes":[{{"name":"config","configMap":{{"name":"{app}-config","defaultMode":420}}}},{{"name":"kube-api-access-{:05x}","projected":{{"sources":[{{"serviceAccountToken":{{"expirationSeconds":3607,"path":"token"}}}},{{"configMap":{{"name":"kube-root-ca.crt","items":[{{"key":"ca.crt","path":"ca.crt"}}]}}}}],"defaultMode":420}}}}],"containers":[{{"name":"{app}","image":"registry.example.net/{namespace}/{app}@sha256:{:016x}{:016x}{:016x}{:016x}","args":["--config=/etc/{app}/config.yaml","--listen=:8080","--log-level=info"],"ports":[{{"name":"http","containerPort":8080,"protocol":"TCP"}}],"env":[{{"name":"POD_NAME","valueFrom":{{"fieldRef":{{"apiVersion":"v1","fieldPath":"metadata.name"}}}}}},{{"name":"GOMEMLIMIT","value":"{}MiB"}}],"resources":{{"limits":{{"memory":"512Mi"}},"requests":{{"cpu":"{}m","memory":"256Mi"}}}},"volumeMounts":[{{"name":"config","readOnly":true,"mountPath":"/etc/{app}"}}],"terminationMessagePath":"/dev/termination-log","imagePullPolicy":"IfNotPresent"}}],"restartPolicy":"Always","terminationGracePeriodSeconds":30,"dnsPolicy":"ClusterFirst","serviceAccountName":"{app}","nodeName":"{node}","securityContext":{{"runAsNonRoot":true,"runAsUser":10001}},"schedulerName":"default-scheduler","priority":0}},"#,
        mixed(i, 51) & 0xf_ffff,
        mixed(owner, 52),
        mixed(owner, 53),
        mixed(owner, 54),
        mixed(owner, 55),
        400 + owner % 100,
        50 + owner % 400,
    );
    let _ = write!(
        out,
        r#""status":{{"phase":"Running","conditions":[{{"type":"Ready","status":"True","lastProbeTime":null,"lastTransitionTime":"2026-11-02T09:{minute:02}:{second:02}Z"}},{{"type":"PodScheduled","status":"True","lastProbeTime":null,"lastTransitionTime":"2026-11-02T08:15:42Z"}}],"hostIP":"10.0.{}.{}","podIP":"10.{}.{}.{}","startTime":"2026-11-02T08:15:42Z","containerStatuses":[{{"name":"{app}","state":{{"running":{{"startedAt":"2026-11-02T08:15:44Z"}}}},"ready":true,"restartCount":{},"image":"registry.example.net/{namespace}/{app}","containerID":"containerd://{:016x}{:016x}{:016x}{:016x}","started":true}}],"qosClass":"Burstable"}}}}"#,
        ip & 255,
        ip >> 8 & 255,
        64 + (ip >> 16 & 63),
        ip >> 24 & 255,
        ip >> 32 & 255,
        version % 7,
        mixed(i, 61),
        mixed(i, 62),
        mixed(i, 63),
        mixed(i, 64),
    );
    out
}
