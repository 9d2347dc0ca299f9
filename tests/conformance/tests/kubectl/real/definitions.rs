//! CustomResourceDefinitions that come and go.

use crate::transcript::Transcript;

const GADGETS: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: { name: gadgets.new.ex.io }
spec:
  group: new.ex.io
  scope: Cluster
  names: { plural: gadgets, singular: gadget, kind: Gadget }
  versions:
  - name: v1
    served: true
    storage: true
    schema: { openAPIV3Schema: { type: object, x-kubernetes-preserve-unknown-fields: true } }
"#;

#[test]
fn a_kind_is_there_once_it_is_defined_and_goes_with_its_definition() {
    let mut t = Transcript::new("definitions");
    t.file("gadgets.yaml", GADGETS);
    t.file(
        "gadget.yaml",
        "apiVersion: new.ex.io/v1\nkind: Gadget\nmetadata: {name: g1}\nany: {thing: [1, 2]}\n",
    );
    t.file("wrong.yaml", &GADGETS.replace("gadgets.new", "wrong.new"));
    t.fails("kubectl create -f gadget.yaml");
    t.fails("kubectl create -f wrong.yaml");
    t.run("kubectl apply -f gadgets.yaml");
    t.run("kubectl wait --for=condition=Established crd gadgets.new.ex.io --timeout=30s");
    t.run("kubectl apply -f gadgets.yaml");
    t.run("kubectl get crd gadgets.new.ex.io -o yaml");
    t.run("for i in $(seq 300); do kubectl create -f gadget.yaml 2> refused && exit 0; sleep 0.1; done; exit 1");
    t.run("kubectl get gadgets");
    t.run("kubectl get gadget g1 -o yaml");
    t.run("kubectl apply -f gadget.yaml");
    t.run("kubectl describe gadget g1");
    t.run("kubectl delete crd gadgets.new.ex.io --timeout=50s");
    // Discovery learns of it a moment later.
    t.run("for i in $(seq 300); do kubectl api-resources --api-group=new.ex.io | grep -q gadgets || exit 0; sleep 0.1; done; exit 1");
    t.fails("kubectl get gadgets --cache-dir=fresh");
    t.end();
}
