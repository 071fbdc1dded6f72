//! References of every kind, good and bad.

use serde_json::json;

use super::*;
use crate::catalogue::Severity;

/// Bundles files of a folder; the entry is `api.yaml`.
fn bundled(files: &[(&str, &str)]) -> (Value, Vec<Finding>) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let mut files = Files::open(&folder.path().join("api.yaml")).unwrap();
    let dialect = match files.get("api.yaml").unwrap().value.get("openapi").and_then(Value::as_str) {
        Some(version) if version.starts_with("3.1") => Dialect::V31,
        Some(_) => Dialect::V30,
        None => Dialect::Swagger2,
    };
    let mut findings = Findings::default();
    let bundle = bundle(&mut files, dialect, &mut findings);
    (bundle.document, findings.into_sorted().0)
}

#[test]
fn other_files_become_components() {
    let (document, findings) = bundled(&[
        (
            "api.yaml",
            "openapi: 3.0.0\npaths:\n  /a:\n    $ref: paths/a.yaml\ncomponents:\n  schemas:\n    Money: {type: string}\n    \
             Node: {$ref: 'models.yaml#/Node'}",
        ),
        (
            "paths/a.yaml",
            "get:\n  parameters:\n    - $ref: ../models.yaml#/parameters/page\n  responses:\n    200:\n      content:\n        \
             a/b:\n          schema: {$ref: ../models.yaml#/Node}\n    400: {$ref: 400.yaml}",
        ),
        ("paths/400.yaml", "description: bad\ncontent: {a/b: {schema: {$ref: '../models.yaml#/definitions/Money'}}}"),
        (
            "models.yaml",
            "Node: {type: object, properties: {next: {$ref: '#/Node'}, own: {$ref: 'api.yaml#/components/schemas/Money'}}}\n\
             definitions: {Money: {type: number}}\nparameters: {page: {name: page-size, in: query}}",
        ),
    ]);
    assert_eq!(findings, []);
    let get = &document["paths"]["/a"]["get"];
    assert_eq!(get["parameters"][0]["$ref"], "#/components/parameters/page");
    assert_eq!(get["responses"]["400"]["$ref"], "#/components/responses/Response400");
    let schemas = &document["components"]["schemas"];
    assert_eq!(get["responses"]["200"]["content"]["a/b"]["schema"]["$ref"], "#/components/schemas/Node_2");
    assert_eq!(schemas["Node_2"]["properties"]["next"]["$ref"], "#/components/schemas/Node_2", "recursion stays");
    assert_eq!(schemas["Node_2"]["properties"]["own"]["$ref"], "#/components/schemas/Money");
    assert_eq!(schemas["Node"], json!({"$ref": "#/components/schemas/Node_2"}));
    assert_eq!(schemas["Money_2"]["type"], "number", "another Money than the document's own");
}

#[test]
fn places_inside_the_document_become_components_too() {
    let (document, findings) = bundled(&[(
        "api.yaml",
        "openapi: 3.0.0\npaths:\n  /a/{id}:\n    parameters:\n      - {name: id, in: path, required: true, schema: {type: string}}\n  \
         /b/{id}:\n    parameters:\n      - $ref: '#/paths/~1a~1%7Bid%7D/parameters/0'\n      - name: q\n        in: query\n        \
         schema: {$ref: '#/components/schemas/A/properties/x'}\ncomponents:\n  schemas:\n    A: {properties: {x: {type: integer}}}",
    )]);
    assert_eq!(findings, []);
    let reference = json!({"$ref": "#/components/parameters/id"});
    assert_eq!(document["paths"]["/a/{id}"]["parameters"][0], reference);
    assert_eq!(document["paths"]["/b/{id}"]["parameters"][0], reference);
    assert_eq!(document["components"]["parameters"]["id"]["in"], "path");
    assert_eq!(document["components"]["schemas"]["A"]["properties"]["x"], json!({"$ref": "#/components/schemas/x"}));
}

#[test]
fn a_reference_that_leads_nowhere_says_why() {
    let schema = |reference: &str| {
        format!(
            "openapi: 3.0.0\npaths: {{}}\ncomponents:\n  schemas:\n    A: {{$ref: '{reference}'}}\n    C: {{$ref: '#/components/schemas/D'}}\n    D: {{$ref: '#/components/schemas/C'}}"
        )
    };
    for (reference, reason) in [
        ("#/components/schemas/B", "leads nowhere"),
        ("#/info", "leads nowhere"),
        ("#/openapi", "something else"),
        ("#anchor", "anchor"),
        ("../b.yaml", "outside the folder"),
        ("/etc/passwd", "absolute path"),
        ("file:///etc/passwd", "absolute path"),
        ("https://example.com/b.yaml#/B", "nothing is fetched"),
        ("b.yaml", "cannot be read"),
        ("bad.yaml", "line 1, column 4"),
        ("#/components/schemas/C", "round in a circle"),
    ] {
        let (document, findings) = bundled(&[("api.yaml", &schema(reference)), ("bad.yaml", "a: *b")]);
        let found = findings.iter().find(|f| f.pointer == "/components/schemas/A").unwrap();
        assert!(found.severity == Severity::Error && found.what.contains(reason), "{reference}: {}", found.what);
        assert_eq!(document["components"]["schemas"]["A"][UNRESOLVED], reference);
    }
}

#[test]
fn what_stands_beside_a_reference_counts_where_the_version_says_so() {
    let text = |version: &str| {
        format!(
            "openapi: {version}\npaths: {{}}\ncomponents:\n  schemas:\n    A: {{$ref: '#/components/schemas/B', nullable: true}}\n    B: {{}}\n  \
             responses:\n    R: {{$ref: '#/components/responses/S', description: d, content: {{}}}}\n    S: {{description: s}}"
        )
    };
    let (old, findings) = bundled(&[("api.yaml", &text("3.0.0"))]);
    assert_eq!(old["components"]["schemas"]["A"], json!({"$ref": "#/components/schemas/B"}));
    assert_eq!(findings.len(), 1);
    let (new, _) = bundled(&[("api.yaml", &text("3.1.0"))]);
    assert_eq!(new["components"]["schemas"]["A"]["nullable"], true);
    assert_eq!(new["components"]["responses"]["R"], json!({"$ref": "#/components/responses/S", "description": "d"}));
}

#[test]
fn names_and_anchors_of_schemas_are_resolved() {
    let (document, _) = bundled(&[(
        "api.yaml",
        "openapi: 3.1.0\npaths: {}\ncomponents:\n  schemas:\n    A:\n      $id: https://example.com/a\n      $defs: {inner: {type: integer}}\n      \
         properties: {x: {$ref: '#/$defs/inner'}, y: {$ref: '#/components/schemas/B'}}\n    B: {$anchor: bee, type: string}\n    \
         C: {properties: {a: {$ref: 'https://example.com/a'}, b: {$ref: '#bee'}}}",
    )]);
    let schemas = &document["components"]["schemas"];
    assert_eq!(schemas["A"]["properties"]["x"]["$ref"], "#/components/schemas/inner");
    assert_eq!(schemas["A"]["properties"]["y"]["$ref"], "#/components/schemas/B");
    assert_eq!(
        schemas["C"]["properties"],
        json!({"a": {"$ref": "#/components/schemas/A"}, "b": {"$ref": "#/components/schemas/B"}})
    );
    assert_eq!(schemas["inner"]["type"], "integer");
    assert!(schemas["A"].get("$id").is_none());
}

#[test]
fn path_items_are_put_in_place_and_circles_of_them_are_noticed() {
    let (document, findings) = bundled(&[
        ("api.yaml", "openapi: 3.0.0\npaths:\n  /a: {$ref: item.yaml, summary: mine}\n  /b: {$ref: '#/paths/~1b'}"),
        ("item.yaml", "summary: theirs\nget: {responses: {}}"),
    ]);
    assert_eq!(document["paths"]["/a"], json!({"summary": "mine", "get": {"responses": {}}}));
    assert!(document["paths"]["/b"].get(UNRESOLVED).is_some());
    assert_eq!(findings.len(), 2);
}

#[test]
fn mappings_of_discriminators_are_references() {
    let (document, findings) = bundled(&[
        (
            "api.yaml",
            "openapi: 3.0.0\npaths: {}\ncomponents:\n  schemas:\n    Pet:\n      discriminator:\n        propertyName: k\n        \
             mapping: {c: Cat, d: 'dog.yaml', e: '#/components/schemas/Cat', f: Fish}\n    Cat: {}",
        ),
        ("dog.yaml", "{type: object}"),
    ]);
    assert_eq!(
        document["components"]["schemas"]["Pet"]["discriminator"]["mapping"],
        json!({"c": "#/components/schemas/Cat", "d": "#/components/schemas/dog", "e": "#/components/schemas/Cat"})
    );
    assert_eq!(findings.len(), 1, "Fish does not exist");
}
