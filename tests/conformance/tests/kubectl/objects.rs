//! What the transcripts are about.

/// Two ConfigMaps.
pub(crate) const CONFIG_MAPS: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: { name: one, labels: { app: shop, tier: front }, annotations: { note: first } }
data: { a: "1", b: "two\nlines" }
---
apiVersion: v1
kind: ConfigMap
metadata: { name: two, labels: { app: shop, tier: back } }
data: { c: "3" }
binaryData: { d: AAE= }
"#;

/// A widget with a status, which `create` drops.
pub(crate) const WIDGET: &str = r#"
apiVersion: ex.io/v1
kind: Widget
metadata: { name: w1, labels: { app: shop } }
spec: { size: 3, color: blue, parts: [{ name: wheel }, { name: bell, count: 2 }] }
status: { size: 9 }
"#;

/// The status that a controller would write.
pub(crate) const WIDGET_STATUS: &str = r#"
status:
  size: 3
  conditions: [{ type: Ready, status: "True", reason: Built, message: it is there }]
"#;

/// A Deployment.
pub(crate) const DEPLOYMENT: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: { name: web, labels: { app: web } }
spec:
  replicas: 2
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec:
      containers:
      - { name: web, image: "web:1", ports: [{ containerPort: 80 }], env: [{ name: A, value: b }] }
      - { name: side, image: "side:1" }
"#;

/// The status that a Deployment has when all is there.
pub(crate) const DEPLOYMENT_STATUS: &str = r#"
status: { observedGeneration: 1, replicas: 2, updatedReplicas: 2, readyReplicas: 2, availableReplicas: 2 }
"#;

/// Two Pods, which nothing runs.
pub(crate) const POD: &str = r#"
apiVersion: v1
kind: Pod
metadata: { name: alone, labels: { app: alone } }
spec:
  containers: [{ name: main, image: "main:1", resources: { requests: { cpu: 100m } } }]
---
apiVersion: v1
kind: Pod
metadata: { name: choosy }
spec:
  containers: [{ name: main, image: main, resources: { limits: { cpu: 100m, memory: 1Mi } } }]
  tolerations: [{ key: node.kubernetes.io/unreachable, operator: Exists }]
"#;

/// A Service.
pub(crate) const SERVICE: &str = r#"
apiVersion: v1
kind: Service
metadata: { name: web }
spec: { selector: { app: web }, ports: [{ name: http, port: 80, targetPort: 8080 }] }
"#;

/// A Secret.
pub(crate) const SECRET: &str = r#"
apiVersion: v1
kind: Secret
metadata: { name: hidden }
stringData: { password: sesame }
"#;

/// Two Events about a ConfigMap.
pub(crate) const EVENTS: &str = r#"
apiVersion: v1
kind: Event
metadata: { name: one.1 }
involvedObject: { apiVersion: v1, kind: ConfigMap, name: one, namespace: NAMESPACE }
type: Normal
reason: Read
message: somebody read it
source: { component: reader }
firstTimestamp: "2026-01-02T03:04:05Z"
lastTimestamp: "2026-01-02T03:05:05Z"
count: 3
---
apiVersion: v1
kind: Event
metadata: { name: one.2 }
involvedObject: { apiVersion: v1, kind: ConfigMap, name: one, namespace: NAMESPACE }
type: Warning
reason: Lost
message: nobody found it
source: { component: reader }
firstTimestamp: "2026-01-02T03:06:05Z"
lastTimestamp: "2026-01-02T03:06:05Z"
count: 1
"#;
