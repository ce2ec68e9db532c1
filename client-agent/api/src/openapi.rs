//! The generated description of the API (OpenAPI 3.1) and the page that shows it.

use std::sync::OnceLock;

use utoipa::openapi::{
    ContactBuilder, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder,
    security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme},
    tag::TagBuilder,
};

use crate::routes;

/// The page at `/`: every path with an example that can be changed and sent.
pub(crate) const PAGE: &str = include_str!("page.html");

const DESCRIPTION: &str = "What a store's own systems ask its agent. Customers' ids become keyed \
    pseudonyms as they arrive and are not kept. Every answer has a `request_id`: events that come \
    of it carry it. Errors are problems after RFC 9457.";

const TAGS: [(&str, &str); 6] = [
    ("events", "What happens, as it happens"),
    ("recommendations", "Recommendations, re-ranking, and what became of them"),
    ("items", "What the store says about its items"),
    ("users", "One customer: profile, consents, export, merge, erasure"),
    ("segments", "Groups of customers, and occasions to write to them"),
    ("batch", "Several requests in one"),
];

/// The description without its paths.
pub(crate) fn base() -> OpenApi {
    let info = InfoBuilder::new()
        .title("Chorale agent")
        .version("1")
        .description(Some(DESCRIPTION))
        .contact(Some(ContactBuilder::new().name(Some("the store that runs this agent")).build()))
        .license(Some(LicenseBuilder::new().name("Apache-2.0").build()))
        .build();
    let tags = TAGS.map(|(name, description)| {
        TagBuilder::new().name(name).description(Some(description)).build()
    });
    let mut document = OpenApiBuilder::new()
        .info(info)
        .tags(Some(tags))
        .security(Some([SecurityRequirement::new("token", Vec::<String>::new())]))
        .build();
    let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    let components = document.components.get_or_insert_default();
    components.security_schemes.insert("token".into(), bearer.into());
    document
}

/// The whole description.
pub(crate) fn json() -> &'static str {
    static JSON: OnceLock<String> = OnceLock::new();
    JSON.get_or_init(|| routes::document().to_pretty_json().unwrap_or_default())
}
