// Every file of the dashboard. `index.html` is the page at each of its addresses.
&[
    web::asset!("/dashboard", "index.html"),
    web::asset!("/dashboard", "dashboard.css"),
    web::asset!("/dashboard", "main.js"),
    web::asset!("/dashboard", "api.js"),
    web::asset!("/dashboard", "element.js"),
    web::asset!("/dashboard", "entrance.js"),
    web::asset!("/dashboard", "rooms.js"),
    web::asset!("/dashboard", "rows.js"),
    web::asset!("/dashboard", "devices.js"),
    web::asset!("/dashboard", "desktops.js"),
    web::asset!("/dashboard", "news.js"),
]
