// Every file of this folder that pages may load. `web::ASSETS` includes this list.
&[
    asset!("/web", "tokens.css"),
    asset!("/web", "components.css"),
    asset!("/web", "icons.js"),
    asset!("/web", "words.js"),
    asset!("/web", "favicon.svg"),
]
