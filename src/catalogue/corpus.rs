//! Every document of the corpus of real ones, against the counts that its own list states.

use std::path::{Path, PathBuf};

use super::sound::{imbalance, unsound};
use super::*;

/// File, form, paths, operations, schemas: from the corpus's SOURCES.md (which does not follow the path item's
/// reference in server-path-level.yaml, and so counts one operation less there).
const DOCUMENTS: &[(&str, &str, usize, usize, usize)] = &[
    ("adyen/BalancePlatformService-v2.yaml", "OpenAPI 3.1.0", 62, 91, 233),
    ("adyen/CheckoutService-v71.json", "OpenAPI 3.1.0", 26, 28, 250),
    ("adyen/OpenBankingService-v1.json", "OpenAPI 3.1.0", 2, 2, 20),
    ("adyen/TransferService-v4.yaml", "OpenAPI 3.1.0", 10, 12, 96),
    ("australia-cdr/cds_admin.json", "OpenAPI 3.0.3", 2, 2, 88),
    ("australia-cdr/cds_banking.json", "OpenAPI 3.0.3", 16, 19, 107),
    ("australia-cdr/cds_common.yaml", "OpenAPI 3.0.3", 4, 4, 27),
    ("australia-cdr/cds_dcr.json", "OpenAPI 3.0.3", 2, 4, 5),
    ("australia-cdr/cds_energy.json", "OpenAPI 3.0.3", 18, 23, 133),
    ("australia-cdr/cds_register.yaml", "OpenAPI 3.0.3", 9, 9, 30),
    ("berlin-nextgenpsd2/psd2-api_v1.3.11-2021-10-01v1.yaml", "OpenAPI 3.0.1", 27, 38, 300),
    ("berlin-nextgenpsd2/psd2-confirmation-of-funds-consent-2.0-20190607.yaml", "OpenAPI 3.0.1", 5, 8, 93),
    ("brazil-openfinance/accounts-2.4.2.yml", "OpenAPI 3.0.0", 6, 6, 31),
    ("brazil-openfinance/admin-2.0.1.yml", "OpenAPI 3.0.0", 1, 1, 13),
    ("brazil-openfinance/automatic-payments-2.0.0.yml", "OpenAPI 3.0.0", 4, 7, 72),
    ("brazil-openfinance/common-2.0.1.yml", "OpenAPI 3.0.0", 2, 2, 7),
    ("brazil-openfinance/consents-3.3.1.yml", "OpenAPI 3.0.0", 4, 5, 24),
    ("brazil-openfinance/credit-cards-2.3.1.yml", "OpenAPI 3.0.0", 7, 7, 40),
    ("brazil-openfinance/customers-2.2.1.yml", "OpenAPI 3.0.0", 6, 6, 58),
    ("brazil-openfinance/enrollments-2.1.0.yml", "OpenAPI 3.0.0", 7, 8, 36),
    ("brazil-openfinance/insurances-2.0.0.yml", "OpenAPI 3.0.0", 1, 1, 39),
    ("brazil-openfinance/loans-2.5.0.yml", "OpenAPI 3.0.0", 5, 5, 42),
    ("brazil-openfinance/participants-1.0.0.yml", "OpenAPI 3.0.0", 1, 1, 120),
    ("brazil-openfinance/payments-4.0.0.yml", "OpenAPI 3.0.0", 5, 6, 56),
    ("brazil-openfinance/resources-3.1.0.yml", "OpenAPI 3.0.0", 1, 1, 7),
    ("brazil-openinsurance/claim-notification.yaml", "OpenAPI 3.0.0", 2, 2, 13),
    ("brazil-openinsurance/consents_v3.yaml", "OpenAPI 3.0.0", 2, 3, 13),
    ("brazil-openinsurance/customers.yaml", "OpenAPI 3.0.0", 6, 6, 43),
    ("brazil-openinsurance/insurance-auto.yaml", "OpenAPI 3.0.0", 4, 4, 28),
    ("brazil-openinsurance/insurance-patrimonial.yaml", "OpenAPI 3.0.0", 4, 4, 34),
    ("brazil-openinsurance/quote-auto.yaml", "OpenAPI 3.0.0", 5, 5, 91),
    ("brazil-openinsurance/resources_v3.yaml", "OpenAPI 3.0.0", 1, 1, 6),
    ("brazil-openinsurance/webhook.yaml", "OpenAPI 3.0.0", 5, 5, 2),
    ("india-aa-sahamati/AA-v2-latest.yaml", "Swagger 2.0", 9, 9, 40),
    ("india-aa-sahamati/FIP-v2-latest.yaml", "Swagger 2.0", 9, 9, 43),
    ("india-aa-sahamati/FIU-v2-latest.yaml", "Swagger 2.0", 2, 2, 14),
    ("mastercard-openbanking-us/openbanking-us.yaml", "OpenAPI 3.0.3", 138, 156, 781),
    ("mojaloop/fspiop-rest-v2.0.yaml", "OpenAPI 3.0.2", 38, 59, 102),
    ("mojaloop/thirdparty-pisp-api.yaml", "OpenAPI 3.0.1", 20, 32, 0),
    ("readme-oas-examples/2.0-json-petstore.json", "Swagger 2.0", 14, 20, 6),
    ("readme-oas-examples/2.0-yaml-api-with-examples.yaml", "Swagger 2.0", 2, 2, 0),
    ("readme-oas-examples/3.0-json-complex-nesting.json", "OpenAPI 3.0.3", 4, 5, 9),
    ("readme-oas-examples/3.0-yaml-callbacks.yaml", "OpenAPI 3.0.0", 1, 1, 0),
    ("readme-oas-examples/3.0-yaml-circular-paths.yaml", "OpenAPI 3.0.0", 1, 3, 6),
    ("readme-oas-examples/3.0-yaml-circular.yaml", "OpenAPI 3.0.1", 1, 1, 1),
    ("readme-oas-examples/3.0-yaml-discriminators.yaml", "OpenAPI 3.0.3", 10, 10, 24),
    ("readme-oas-examples/3.0-yaml-file-uploads.yaml", "OpenAPI 3.0.3", 2, 3, 0),
    ("readme-oas-examples/3.0-yaml-link-example.yaml", "OpenAPI 3.0.0", 6, 6, 3),
    ("readme-oas-examples/3.0-yaml-parameters-style.yaml", "OpenAPI 3.0.3", 19, 25, 0),
    ("readme-oas-examples/3.0-yaml-polymorphism.yaml", "OpenAPI 3.0.3", 13, 13, 7),
    ("readme-oas-examples/3.0-yaml-schema-circular.yaml", "OpenAPI 3.0.3", 3, 3, 11),
    ("readme-oas-examples/3.0-yaml-security.yaml", "OpenAPI 3.0.3", 8, 15, 0),
    ("readme-oas-examples/3.0-yaml-server-path-level.yaml", "OpenAPI 3.0.3", 7, 7, 0),
    ("readme-oas-examples/3.0-yaml-server-variables.yaml", "OpenAPI 3.0.3", 4, 4, 0),
    ("readme-oas-examples/3.1-json-readme.json", "OpenAPI 3.1.0", 28, 54, 0),
    ("readme-oas-examples/3.1-yaml-schema-types.yaml", "OpenAPI 3.1.0", 13, 23, 2),
    ("readme-oas-examples/3.1-yaml-webhooks.yaml", "OpenAPI 3.1.0", 0, 0, 1),
    ("stripe/spec3.yaml", "OpenAPI 3.0.0", 261, 417, 561),
    ("swiss-obp/securities-orders.yaml", "OpenAPI 3.0.3", 4, 7, 91),
    ("swiss-obp/swiss-ng-api.yaml", "OpenAPI 3.0.1", 23, 34, 289),
    ("twilio/twilio_api_v2010.json", "OpenAPI 3.0.1", 121, 197, 148),
    ("twilio/twilio_oauth_v2.json", "OpenAPI 3.0.1", 2, 2, 17),
    ("uk-obie-3.1.1-swagger2/account-info-swagger.json", "Swagger 2.0", 28, 29, 154),
    ("uk-obie-3.1.1-swagger2/client-registration-swagger.json", "Swagger 2.0", 2, 4, 4),
    ("uk-obie-3.1.11/account-info-openapi.yaml", "OpenAPI 3.0.0", 28, 29, 206),
    ("uk-obie-3.1.11/confirmation-funds-openapi.yaml", "OpenAPI 3.0.0", 3, 4, 9),
    ("uk-obie-3.1.11/event-notifications-openapi.yaml", "OpenAPI 3.0.0", 1, 1, 5),
    ("uk-obie-3.1.11/events-openapi.yaml", "OpenAPI 3.0.0", 3, 5, 11),
    ("uk-obie-3.1.11/payment-initiation-openapi.yaml", "OpenAPI 3.0.0", 40, 41, 64),
    ("uk-obie-3.1.11/vrp-openapi.yaml", "OpenAPI 3.0.0", 6, 7, 46),
    ("uk-obie-4.0/account-info-openapi.json", "OpenAPI 3.0.0", 28, 29, 242),
    ("uk-obie-4.0/events-openapi.json", "OpenAPI 3.0.0", 3, 5, 12),
    ("uk-obie-4.0/vrp-openapi.json", "OpenAPI 3.0.0", 6, 9, 78),
    ("wso2-accelerator/accelerator-extensions-v1.0.4.yaml", "OpenAPI 3.0.1", 24, 24, 108),
    ("wso2-accelerator/account-info-swagger.yaml", "Swagger 2.0", 6, 7, 54),
    ("wso2-accelerator/dcr-swagger.yaml", "Swagger 2.0", 2, 4, 4),
];

/// The folder of the corpus; tests that need it pass without it, and say so.
pub fn folder() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/specs");
    if !folder.is_dir() {
        println!("skipped: {} does not exist", folder.display());
        return None;
    }
    Some(folder)
}

fn id_of(file: &str) -> ApiId {
    let stem = file.replace('/', "-");
    ApiId::parse(stem.rsplit_once('.').map_or(stem.as_str(), |(stem, _)| stem)).unwrap()
}

/// Imports one document of the corpus.
pub fn load(folder: &Path, file: &str) -> Result<ImportedApi, ImportError> {
    import(&ApiSource { id: id_of(file), file: folder.join(file), base_path: None })
}

/// Every document, imported once for all tests.
fn imported(folder: &Path) -> &'static [(&'static str, Result<ImportedApi, String>)] {
    static ALL: std::sync::OnceLock<Vec<(&str, Result<ImportedApi, String>)>> = std::sync::OnceLock::new();
    let files = DOCUMENTS.iter().map(|(file, ..)| *file).chain([MULTI_FILE]);
    ALL.get_or_init(|| files.map(|file| (file, load(folder, file).map_err(|e| e.to_string()))).collect())
}

/// All documents that import.
pub fn load_all(folder: &Path) -> Vec<ImportedApi> {
    imported(folder).iter().map(|(file, api)| api.clone().unwrap_or_else(|e| panic!("{file}: {e}"))).collect()
}

/// A document of 146 files.
const MULTI_FILE: &str = "mojaloop/fspiop-v1_1-multifile/openapi.yaml";

#[test]
fn a_document_of_many_files_is_gathered_with_readable_names() {
    let Some(folder) = folder() else { return };
    let api = load(&folder, MULTI_FILE).unwrap();
    println!("{}", api.report.to_text());
    assert_eq!((api.report.files, api.report.count(Part::Paths).used, api.operations.len()), (146, 31, 47));
    assert_eq!(imbalance(&api), [""; 0]);
    assert_eq!(unsound(&api), [""; 0]);
    let names: Vec<&String> = api.document["components"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["schemas", "parameters", "responses", "headers"]);
    assert!(api.document.pointer("/components/responses/Response400/content").is_some());
    assert!(api.document.pointer("/components/schemas/Money/properties/amount/$ref").is_some());
    assert_eq!(api.base_path, "/switch");
    assert_eq!(api.origins.of("/components/schemas/Money").file, "components/schemas/Money.yaml");
}

#[test]
fn a_postman_collection_is_refused_as_what_it_is() {
    let Some(folder) = folder() else { return };
    let refusal = load(&folder, "india-aa-sahamati/Router-APIs.postman_collection.json").unwrap_err();
    assert!(matches!(&refusal, ImportError::NotOpenApi { .. }));
    let text = refusal.to_string();
    assert!(text.contains("this is a Postman collection v2.0, not OpenAPI"), "{text}");
}

#[test]
fn parts_of_a_document_are_refused_as_such() {
    let Some(folder) = folder() else { return };
    let parts = "mojaloop/fspiop-v1_1-multifile";
    for (file, what) in [("paths/quotes.yaml", "a path item"), ("components/schemas/Money.yaml", "a JSON Schema")] {
        let text = load(&folder, &format!("{parts}/{file}")).unwrap_err().to_string();
        assert!(text.contains(what), "{text}");
    }
}

#[test]
fn every_document_imports_and_every_part_is_accounted_for() {
    let Some(folder) = folder() else { return };
    let mut wrong = Vec::new();
    for ((file, format, paths, operations, schemas), (_, result)) in DOCUMENTS.iter().zip(imported(&folder)) {
        let api = match result {
            Ok(api) => api,
            Err(e) => {
                wrong.push(format!("{file}: {e}"));
                continue;
            }
        };
        println!("== {file}\n{}", api.report.to_text());
        let found = |part| api.report.count(part).found;
        let counts = (found(Part::Paths), found(Part::Operations), found(Part::Schemas));
        if counts != (*paths, *operations, *schemas) {
            wrong.push(format!("{file}: found {counts:?}, expected {:?}", (paths, operations, schemas)));
        }
        if api.report.format != *format {
            wrong.push(format!("{file}: {} is not {format}", api.report.format));
        }
        let faults = imbalance(api).into_iter().chain(unsound(api));
        wrong.extend(faults.map(|what| format!("{file}: {what}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
