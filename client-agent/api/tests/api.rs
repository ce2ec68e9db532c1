//! The API as a store's systems meet it, through its router.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use axum::{body::Body, http::Request};
use chorale_api::{Segment, Settings};
use chorale_people::{
    features::{Declared, Measure, Who},
    live::Purpose,
    retention::{Retention, Subject},
};
use serde_json::{Value, json};
use support::{NOW_S, Shop, is_problem, items, store};

const REGULAR: &str = "/v1/users/CUSTOMER-0098765";

#[tokio::test]
async fn a_live_event_shows_in_the_profile_at_once() {
    let shop = Shop::new();
    let before = shop.ask("GET", &format!("{REGULAR}/profile"), None).await;
    assert_eq!((&before["known"], &before["facts"]["baskets"]), (&json!(true), &json!(3)));
    assert_eq!(before["habits"][0]["item"], "PICKLED HERRING");
    assert_eq!(before["habits"][0]["overdue"], true);
    let events = json!([
        {"type": "purchase", "user": "CUSTOMER-0098765", "item": "MATCHES", "id": "e1"},
        {"type": "search", "user": "CUSTOMER-0098765"},
    ]);
    let kept = shop.ask("POST", "/v1/events", events.clone()).await;
    assert_eq!((&kept["accepted"], &kept["duplicates"]), (&json!(2), &json!(0)));
    let after = shop.ask("GET", &format!("{REGULAR}/profile"), None).await;
    assert_eq!(after["facts"]["baskets"], 4);
    assert_eq!(after["activity"]["counts"], json!({"purchase": 1, "search": 1}));
    assert_eq!(after["model_version"], "none");
    let again = shop.ask("POST", "/v1/events", events).await;
    assert_eq!((&again["accepted"], &again["duplicates"]), (&json!(1), &json!(1)));
    let shop = shop.restarted();
    let after = shop.ask("GET", &format!("{REGULAR}/profile"), None).await;
    assert_eq!(after["facts"]["baskets"], 4);
    assert_eq!(after["activity"]["counts"], json!({"purchase": 1, "search": 2}));
}

#[tokio::test]
async fn what_cannot_be_used_is_said_and_the_rest_kept() {
    let shop = Shop::new();
    let kept = shop
        .ask(
            "POST",
            "/v1/events",
            json!([
                {"type": "view", "user": "a", "item": "PEARS", "time": "2025-12-31T10:00:00Z"},
                {"type": "view", "item": "PEARS"},
                {"type": "view", "user": "a"},
                {"type": "NO WORD", "user": "a"},
                {"type": "view", "user": "a", "item": "PEARS", "time": "2027-01-01"},
                {"type": "purchase", "user": "a", "item": "PEARS", "amount": -1},
                {"type": "purchase", "user": "a", "item": "PEARS", "quantity": -1},
                {"type": "view", "user": "", "item": "PEARS"},
            ]),
        )
        .await;
    assert_eq!(kept["accepted"], 1);
    let rejected: Vec<u64> =
        kept["rejected"].as_array().unwrap().iter().map(|r| r["index"].as_u64().unwrap()).collect();
    assert_eq!(rejected, [1, 2, 3, 4, 5, 6, 7]);
    for body in [json!([]), json!({}), json!([{"type": "view", "colour": "red"}])] {
        shop.refused("POST", "/v1/events", body, 400).await;
    }
}

#[tokio::test]
async fn texts_are_kept_without_what_is_personal_and_only_where_they_mean_something() {
    let shop = Shop::new();
    let said = "tea for Mr. Thompson, call 13812345678 or mail t@example.com";
    let events = json!([
        {"type": "search", "user": "a", "text": said, "id": "1"},
        {"type": "review", "user": "a", "item": "APPLES", "text": "fresh, 2 x 500 g", "id": "2"},
        {"type": "view", "user": "a", "item": "APPLES", "text": said, "id": "3"},
        {"type": "search", "user": "a", "text": "x".repeat(4097), "id": "4"},
    ]);
    let kept = shop.ask("POST", "/v1/events", events).await;
    assert_eq!((&kept["accepted"], &kept["scrubbed"]), (&json!(3), &json!(3)));
    assert_eq!(kept["rejected"][0]["index"], 3);
    let export = shop.ask("GET", "/v1/users/a/export", None).await;
    let texts: Vec<_> = export["live"].as_array().unwrap().iter().map(|e| &e["text"]).collect();
    let scrubbed = json!("tea for [name], call [phone] or mail [email]");
    assert_eq!(texts, [&scrubbed, &json!("fresh, 2 x 500 g"), &Value::Null]);
}

#[tokio::test]
async fn an_unknown_user_gets_something_useful() {
    let shop = Shop::new();
    let profile = shop.ask("GET", "/v1/users/NOBODY/profile", None).await;
    assert_eq!((&profile["known"], &profile["fallback"]), (&json!(false), &json!("unknown-user")));
    assert_eq!(profile["items"][0]["item"], "APPLES");
    let answer = shop.ask("POST", "/v1/recommend", json!({"user": "NOBODY", "count": 2})).await;
    assert_eq!(items(&answer), ["APPLES", "RYE BREAD"]);
    assert_eq!(answer["fallback"], "unknown-user");
    assert_eq!(answer["items"][0]["source"], "local-popularity");
    let risk = shop.ask("GET", "/v1/users/NOBODY/risk", None).await;
    assert_eq!((&risk["indications"], &risk["advisory"]), (&json!([]), &json!(true)));
}

#[tokio::test]
async fn tokens_and_roles() {
    let shop = Shop::new();
    let body = json!([{"type": "view", "user": "a", "item": "PEARS"}]);
    for (token, path, body, status) in [
        (&shop.collector, "/v1/events", Some(&body), 200),
        (&shop.collector, "/v1/users/a/profile", None, 403),
        (&shop.application, "/v1/users/a/profile", None, 200),
        (&shop.application, "/v1/users/a/export", None, 403),
        (&shop.application, "/v1/segments", None, 200),
        (&shop.application, "/v1/segments/regulars/members", None, 403),
        (&shop.auditor, "/v1/segments", None, 200),
        (&shop.auditor, "/v1/users/a/profile", None, 403),
        (&shop.auditor, "/v1/events", Some(&body), 403),
        (&shop.administrator, "/v1/users/a/export", None, 200),
        (&"chorale_guess".to_owned(), "/v1/popular", None, 401),
    ] {
        let method = if body.is_some() { "POST" } else { "GET" };
        let answer = shop.call(token, method, path, body).await;
        assert_eq!(answer.status.as_u16(), status, "{path}: {}", answer.body);
        if status != 200 {
            is_problem(&answer);
        }
    }
    let bare = Request::get("/v1/popular").body(Body::empty()).unwrap();
    let answer = shop.send(bare).await;
    assert_eq!(answer.status.as_u16(), 401);
    is_problem(&answer);
    for path in ["/healthz", "/readyz", "/v1/openapi.json", "/"] {
        let open = Request::get(path).body(Body::empty()).unwrap();
        assert_eq!(shop.send(open).await.status.as_u16(), 200, "{path}");
    }
    shop.refused("GET", "/v1/nowhere", None, 404).await;
    shop.refused("PUT", "/v1/popular", None, 405).await;
}

#[tokio::test]
async fn too_many_requests_are_told_when_to_come_back() {
    let settings = Settings { requests_per_second: 1, burst: 3, ..Settings::default() };
    let shop = Shop::with(settings);
    let mut statuses = Vec::new();
    for _ in 0..6 {
        let answer = shop.call(&shop.application, "GET", "/v1/popular", None).await;
        if answer.status.as_u16() == 429 {
            is_problem(&answer);
            assert!(answer.body["retry_after_s"].as_u64().unwrap() >= 1);
        }
        statuses.push(answer.status.as_u16());
    }
    assert_eq!(statuses[..3], [200, 200, 200]);
    assert!(statuses.contains(&429), "{statuses:?}");
    let other = shop.call(&shop.administrator, "GET", "/v1/popular", None).await;
    assert_eq!(other.status.as_u16(), 200);
}

#[tokio::test]
async fn a_repeated_request_changes_nothing() {
    let shop = Shop::new();
    let post = |key: &str, body: Value| {
        Request::post("/v1/events")
            .header("authorization", format!("Bearer {}", shop.application))
            .header("content-type", "application/json")
            .header("idempotency-key", key)
            .body(Body::from(body.to_string()))
            .unwrap()
    };
    let body = json!([{"type": "purchase", "user": "a", "item": "PEARS"}]);
    let first = shop.send(post("k1", body.clone())).await;
    let second = shop.send(post("k1", body.clone())).await;
    assert_eq!(first.body, second.body);
    assert_eq!(first.body["accepted"], 1);
    let other =
        shop.send(post("k1", json!([{"type": "view", "user": "a", "item": "PEARS"}]))).await;
    assert_eq!(other.status.as_u16(), 422);
    is_problem(&other);
    let shop = shop.restarted();
    let request = Request::post("/v1/events")
        .header("authorization", format!("Bearer {}", shop.application))
        .header("content-type", "application/json")
        .header("idempotency-key", "k1")
        .body(Body::from(body.to_string()))
        .unwrap();
    let third = shop.send(request).await;
    assert_eq!((&third.body["accepted"], &third.body["duplicates"]), (&json!(0), &json!(1)));
}

#[tokio::test]
async fn recommendations_do_as_they_are_told() {
    let shop = Shop::new();
    let wish = |more: Value| {
        let mut wish = json!({"user": "CUSTOMER-0098765", "count": 20});
        wish.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        wish
    };
    let all = shop.ask("POST", "/v1/recommend", wish(json!({"explain": true}))).await;
    assert_eq!(items(&all).len(), 6);
    assert_eq!(all["items"][0]["item"], "PICKLED HERRING");
    assert_eq!(all["items"][0]["source"], "history");
    let why = all["items"][0]["reasons"][0].as_str().unwrap();
    assert!(why.starts_with("bought 3 times, about every 10 days"), "{why}");
    assert!(all["fallback"].is_null());
    assert!(all["request_id"].as_str().unwrap().starts_with("home.none."));
    let only = shop.ask("POST", "/v1/recommend", wish(json!({"repeat": "only"}))).await;
    assert_eq!(items(&only), ["PICKLED HERRING", "PEARS"]);
    let never = shop.ask("POST", "/v1/recommend", wish(json!({"repeat": "never"}))).await;
    assert_eq!(items(&never)[..2], ["APPLES", "RYE BREAD"]);
    let out = shop
        .ask("POST", "/v1/recommend", wish(json!({"repeat": "never", "exclude": ["APPLES", "?"]})))
        .await;
    assert_eq!(items(&out)[0], "RYE BREAD");
    let fruit =
        shop.ask("POST", "/v1/recommend", wish(json!({"filter": {"categories": ["FRUIT"]}}))).await;
    assert_eq!(items(&fruit), ["PEARS", "APPLES", "PLUMS"]);
    // Pages never repeat an item, even when the person changes in between.
    let mut seen = Vec::new();
    let mut cursor = Value::Null;
    loop {
        let page =
            shop.ask("POST", "/v1/recommend", wish(json!({"count": 2, "cursor": cursor}))).await;
        seen.extend(items(&page).into_iter().map(str::to_owned));
        let event = json!([{"type": "purchase", "user": "CUSTOMER-0098765", "item": "PLUMS"}]);
        shop.ask("POST", "/v1/events", event).await;
        cursor = page["next"].clone();
        if cursor.is_null() {
            break;
        }
    }
    seen.sort();
    let count = seen.len();
    seen.dedup();
    assert_eq!((seen.len(), count), (6, 6));
    for bad in [json!({"count": 0}), json!({"count": 201}), json!({"scenario": "A B"})] {
        shop.refused("POST", "/v1/recommend", wish(bad), 400).await;
    }
    shop.refused("POST", "/v1/recommend", json!({}), 400).await;
}

#[tokio::test]
async fn a_visitor_without_a_login_gets_what_they_looked_at_and_joins_later() {
    let shop = Shop::new();
    let events = json!([
        {"type": "view", "session": "s-1", "item": "PLUMS"},
        {"type": "cart-add", "session": "s-1", "item": "MATCHES"},
    ]);
    shop.ask("POST", "/v1/events", events).await;
    let wish = json!({"session": "s-1", "count": 2, "explain": true});
    let answer = shop.ask("POST", "/v1/recommend", wish).await;
    assert_eq!(items(&answer), ["MATCHES", "PLUMS"]);
    assert_eq!(answer["fallback"], "no-purchases");
    assert_eq!(answer["items"][0]["source"], "interest");
    assert_eq!(answer["items"][0]["reasons"][0], "looked at before");
    let merge = format!("{REGULAR}/merge");
    let merged = shop.ask("POST", &merge, json!({"session": "s-1"})).await;
    assert_eq!((&merged["changed"], &merged["channels"]), (&json!(true), &json!(2)));
    let profile = shop.ask("GET", &format!("{REGULAR}/profile"), None).await;
    assert_eq!(profile["activity"]["counts"], json!({"cart-add": 1, "view": 1}));
    let again = shop.ask("POST", &merge, json!({"session": "s-1"})).await;
    assert_eq!(again["changed"], false);
    let shop = shop.restarted();
    let unmerged = shop.ask("POST", &format!("{REGULAR}/unmerge"), json!({"session": "s-1"})).await;
    assert_eq!((&unmerged["changed"], &unmerged["channels"]), (&json!(true), &json!(1)));
    let export = shop.ask("GET", &format!("{REGULAR}/export"), None).await;
    assert_eq!(export["merges"].as_array().unwrap().len(), 2);
    assert_eq!(export["live"], json!([]));
    assert_eq!(export["history"].as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn the_stores_own_items_are_served_and_hidden_ones_are_not() {
    let shop = Shop::new();
    let tea = json!([{"item": "OOLONG", "title": "Oolong tea", "category": "TEA",
        "labels": ["organic"], "price": 6.9}]);
    shop.ask("POST", "/v1/items", tea).await;
    shop.ask("POST", "/v1/events", json!([{"type": "purchase", "user": "t", "item": "OOLONG"}]))
        .await;
    let wish = json!({"user": "t", "filter": {"labels_all": ["organic"], "price_max": 7.0}});
    let answer = shop.ask("POST", "/v1/recommend", wish.clone()).await;
    assert_eq!(answer["items"][0]["item"], "OOLONG");
    assert_eq!(answer["items"][0]["title"], "Oolong tea");
    assert_eq!(answer["items"][0]["category"], "TEA");
    let profile = shop.ask("GET", "/v1/users/t/profile", None).await;
    assert_eq!(profile["categories"][0]["category"], "TEA");
    shop.ask("PATCH", "/v1/items/OOLONG", json!({"stock": 0})).await;
    assert_eq!(items(&shop.ask("POST", "/v1/recommend", wish.clone()).await), [""; 0]);
    shop.ask("PATCH", "/v1/items/OOLONG", json!({"stock": 5})).await;
    let shop = shop.restarted();
    assert_eq!(items(&shop.ask("POST", "/v1/recommend", wish.clone()).await), ["OOLONG"]);
    shop.ask("DELETE", "/v1/items/OOLONG", None).await;
    assert_eq!(items(&shop.ask("POST", "/v1/recommend", wish).await), [""; 0]);
    shop.ask("DELETE", "/v1/items/APPLES", None).await;
    let popular = shop.ask("GET", "/v1/popular", None).await;
    assert!(!items(&popular).contains(&"APPLES"));
    shop.refused("PATCH", "/v1/items/NOWHERE", json!({"stock": 5}), 404).await;
    shop.refused("POST", "/v1/items", json!([{"item": "X", "price": -1}]), 400).await;
    shop.refused("POST", "/v1/items", json!([{"item": "X", "colour": "red"}]), 400).await;
}

#[tokio::test]
async fn similar_popular_and_rank() {
    let shop = Shop::new();
    let near = shop.ask("GET", "/v1/items/PEARS/similar", None).await;
    assert_eq!(items(&near), ["PICKLED HERRING"]);
    assert_eq!(near["items"][0]["source"], "local-cooccurrence");
    let alone = shop.ask("GET", "/v1/items/PLUMS/similar?count=1", None).await;
    assert_eq!((items(&alone)[0], &alone["fallback"]), ("APPLES", &json!("no-neighbours")));
    shop.refused("GET", "/v1/items/NOWHERE/similar", None, 404).await;
    let first = shop.ask("GET", "/v1/popular?count=2", None).await;
    assert_eq!(items(&first), ["APPLES", "RYE BREAD"]);
    let next = first["next"].as_str().unwrap();
    let second = shop.ask("GET", &format!("/v1/popular?count=4&cursor={next}"), None).await;
    assert_eq!(items(&second).len(), 4);
    assert!(second.get("next").is_none());
    let fish = shop.ask("GET", "/v1/popular?category=FISH", None).await;
    assert_eq!(items(&fish), ["PICKLED HERRING"]);
    let search = |user: &str| {
        json!({"user": user, "query": "", "explain": true, "candidates": [
            {"item": "APPLES"}, {"item": "UNHEARD OF"}, {"item": "PICKLED HERRING"}]})
    };
    let plain = shop.ask("POST", "/v1/rank", search("NOBODY")).await;
    assert_eq!(items(&plain), ["APPLES", "UNHEARD OF", "PICKLED HERRING"]);
    let own = shop.ask("POST", "/v1/rank", search("CUSTOMER-0098765")).await;
    assert_eq!(items(&own), ["APPLES", "PICKLED HERRING", "UNHEARD OF"]);
    assert_eq!(own["items"][1]["source"], "history");
    let words = json!({"user": "NOBODY", "query": "herring", "candidates": [
        {"item": "APPLES", "score": 1.0}, {"item": "PICKLED HERRING", "score": 1.0}]});
    assert_eq!(items(&shop.ask("POST", "/v1/rank", words).await)[0], "PICKLED HERRING");
}

#[tokio::test]
async fn a_refusal_holds_for_its_purpose() {
    let shop = Shop::new();
    let members = "/v1/segments/slipping/members";
    let events: Vec<Value> = [60, 50, 40]
        .iter()
        .map(|days| {
            let time = chorale_people::calendar::instant(NOW_S - days * support::DAY_S);
            json!({"type": "purchase", "user": "CUSTOMER-0098765", "item": "PLUMS", "time": time})
        })
        .collect();
    shop.ask("POST", "/v1/events", json!(events)).await;
    // Six baskets, every ten days, the last twelve days ago: a regular.
    let regular = shop.ask("GET", "/v1/segments/regulars/members", None).await;
    let who = shop.ask("POST", "/v1/pseudonyms", json!({"users": ["CUSTOMER-0098765"]})).await;
    assert_eq!(regular["persons"], who["persons"]);
    assert_eq!(shop.ask("GET", members, None).await["persons"], json!([]));
    let path = format!("{REGULAR}/consents");
    let said = shop.ask("PUT", &path, json!({"marketing": false})).await;
    assert_eq!(said["consents"][1]["allowed"], false);
    let regular = shop.ask("GET", "/v1/segments/regulars/members", None).await;
    assert_eq!(regular["persons"], json!([]));
    assert_eq!(shop.ask("GET", "/v1/triggers", None).await["persons"], json!([]));
    shop.ask("GET", &format!("{REGULAR}/profile"), None).await;
    shop.ask("PUT", &path, json!({"personalisation": false, "risk": false})).await;
    shop.refused("GET", &format!("{REGULAR}/profile"), None, 403).await;
    shop.refused("GET", &format!("{REGULAR}/risk"), None, 403).await;
    let answer = shop.ask("POST", "/v1/recommend", json!({"user": "CUSTOMER-0098765"})).await;
    assert_eq!((items(&answer)[0], &answer["fallback"]), ("APPLES", &json!("no-consent")));
    let shop = shop.restarted();
    shop.refused("GET", &format!("{REGULAR}/profile"), None, 403).await;
    let contributors = || {
        store(shop.dir.path())
            .contributors(Who::AtHome, i64::MAX, &support::catalogue(), false, None)
            .unwrap()
    };
    assert_eq!(contributors().len(), 11);
    shop.ask("PUT", &path, json!({"training": false})).await;
    assert_eq!(contributors().len(), 10);
}

#[tokio::test]
async fn the_profile_kept_as_bytes_is_the_one_that_is_exported() {
    let shop = Shop::new();
    for path in [REGULAR, "/v1/users/NOBODY"] {
        let mut profile = shop.ask("GET", &format!("{path}/profile"), None).await;
        let export = shop.ask("GET", &format!("{path}/export"), None).await;
        let members = profile.as_object_mut().unwrap();
        let envelope = ["request_id", "model_version", "fallback"].map(|name| members.remove(name));
        assert_eq!(profile, export["profile"]);
        let [id, model, fallback] = envelope.map(Option::unwrap);
        assert!(id.as_str().unwrap().starts_with("profile.none."));
        assert_eq!((&model, &fallback), (&export["model_version"], &export["fallback"]));
    }
}

#[tokio::test]
async fn where_consent_comes_first_silence_is_a_refusal() {
    let settings =
        Settings { consent_required: vec![Purpose::Personalisation], ..Settings::default() };
    let shop = Shop::with(settings);
    shop.refused("GET", &format!("{REGULAR}/profile"), None, 403).await;
    shop.ask("PUT", &format!("{REGULAR}/consents"), json!({"personalisation": true})).await;
    shop.ask("GET", &format!("{REGULAR}/profile"), None).await;
}

#[tokio::test]
async fn an_erased_person_is_gone_for_good() {
    use ed25519_dalek::{Signature, VerifyingKey};
    let shop = Shop::new();
    shop.ask("POST", "/v1/events", json!([{"type": "view", "session": "s", "item": "PEARS"}]))
        .await;
    shop.ask("POST", &format!("{REGULAR}/merge"), json!({"session": "s"})).await;
    let receipt = shop.ask("DELETE", REGULAR, None).await;
    let bytes = |member: &str| hex::decode(receipt[member].as_str().unwrap()).unwrap();
    let key = VerifyingKey::from_bytes(&bytes("public_key").try_into().unwrap()).unwrap();
    let signature = Signature::from_slice(&bytes("signature")).unwrap();
    let statement = receipt["statement"].as_str().unwrap();
    key.verify_strict(statement.as_bytes(), &signature).unwrap();
    let said: Value = serde_json::from_str(statement).unwrap();
    assert_eq!((&said["pseudonyms"], &said["records"]), (&json!(2), &json!(1)));
    assert_eq!((&said["live_rows"], &said["merges"]), (&json!(1), &json!(2)));
    assert_eq!(said["erased_at"], "2026-01-01T12:00:00Z");
    let event = json!([{"type": "view", "user": "CUSTOMER-0098765", "item": "PEARS"}]);
    let kept = shop.ask("POST", "/v1/events", event).await;
    assert_eq!((&kept["accepted"], &kept["ignored"]), (&json!(0), &json!(1)));
    shop.refused("PUT", &format!("{REGULAR}/consents"), json!({"risk": true}), 404).await;
    support::ingest_into(&store(shop.dir.path()));
    let shop = shop.restarted();
    for path in ["profile", "export"] {
        let answer = shop.ask("GET", &format!("{REGULAR}/{path}"), None).await;
        assert_eq!(answer["fallback"], "unknown-user", "{path}");
    }
    let again = shop.ask("DELETE", REGULAR, None).await;
    assert_eq!(again["statement"], receipt["statement"]);
    let left = store(shop.dir.path());
    assert_eq!(
        left.contributors(Who::AtHome, i64::MAX, &support::catalogue(), false, None).unwrap().len(),
        10
    );
    assert_eq!(left.persons().unwrap().len(), 10);
}

#[tokio::test]
async fn what_is_past_its_period_is_gone_and_does_not_come_back() {
    let shop = Shop::new();
    let at = |days_ago: i64| chorale_people::calendar::instant(NOW_S - days_ago * 86_400);
    let event = |kind: &str, days_ago: i64, id: &str| json!({"type": kind, "user": "keeper", "item": "PEARS", "time": at(days_ago), "id": id});
    let mut search = event("search", 40, "e4");
    search["text"] = json!("pears for a cake");
    let events = [event("view", 31, "e1"), event("view", 29, "e2"), event("purchase", 90, "e3")];
    let events: Vec<Value> = events.into_iter().chain([search]).collect();
    let kept = shop.ask("POST", "/v1/events", json!(events)).await;
    assert_eq!(kept["accepted"], 4);
    let persons = store(shop.dir.path()).persons().unwrap().len();
    let periods = [(Subject::View, 30), (Subject::Texts, 30)];
    let shop = shop.keeping(Retention::days(periods));
    let export = |shop: Shop| async move {
        let export = shop.ask("GET", "/v1/users/keeper/export", None).await;
        let events = export["live"].as_array().unwrap().clone();
        let mut kinds: Vec<_> =
            events.iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect();
        kinds.sort_unstable();
        assert_eq!(kinds, ["purchase", "search", "view"], "{export}");
        assert!(!export.to_string().contains("cake"), "{export}");
        shop
    };
    let shop = export(shop).await;
    let again = shop.ask("POST", "/v1/events", json!([event("view", 31, "e1")])).await;
    assert_eq!((&again["accepted"], &again["ignored"]), (&json!(0), &json!(1)));
    let shop = export(shop).await;
    assert_eq!(store(shop.dir.path()).persons().unwrap().len(), persons, "files' purchases stay");
    // On the disk too.
    let live = store(shop.dir.path()).live().unwrap();
    let rows: Vec<_> = live.events.values().flatten().collect();
    assert_eq!(rows.len(), 3);
    assert!(rows.iter().all(|event| event.text.is_none()));
}

#[tokio::test]
async fn declared_features_have_values_owners_and_an_end() {
    let declared = |name: &str, purpose: Purpose, measure: Measure, refresh_hours: u32| {
        let declared = json!({
            "name": name, "owner": "crm", "purpose": purpose, "measure": measure, "days": 30,
            "range": [0.0, 100.0], "ttl_hours": 24, "refresh_hours": refresh_hours,
        });
        serde_json::from_value::<Declared>(declared).unwrap()
    };
    let segment: Segment = serde_json::from_value(json!({
        "id": "spenders", "title": "Spent ten or more in a month",
        "all": [{"fact": "feature", "feature": "spent-30d", "min": 10.0}]
    }))
    .unwrap();
    let shop = Shop::new().restarted_with(|parts| {
        let marketing = |name: &str, measure| declared(name, Purpose::Marketing, measure, 0);
        let (acme, web) = (Some("brand:acme".into()), Some("web".into()));
        parts.features = vec![
            declared("spent-30d", Purpose::Marketing, Measure::Amount, 1),
            declared("risk-items", Purpose::Risk, Measure::Items, 0),
            marketing("gap", Measure::GapDays),
            Declared { label: acme, ..marketing("acme", Measure::Share) },
            Declared { channel: web, ..marketing("web", Measure::Share) },
            Declared { buckets: vec![0.1, 0.2], ..marketing("bargains", Measure::DiscountShare) },
            Declared { searched: Some("Pear".into()), ..marketing("pears", Measure::Searches) },
        ];
        parts.settings.segments = vec![segment];
    });
    let listed = shop.ask("GET", "/v1/features", None).await;
    assert_eq!(listed["features"].as_array().unwrap().len(), 7);
    assert_eq!(listed["features"][5]["type"], "bucket");
    assert_eq!(
        (&listed["features"][1]["type"], &listed["features"][1]["owner"]),
        (&json!("count"), &json!("crm"))
    );
    let nobody = shop.ask("GET", "/v1/users/nobody/features", None).await;
    assert_eq!((&nobody["fallback"], &nobody["features"]), (&json!("unknown-user"), &json!({})));
    let bought = |id: &str, amount: f64| json!([{"type": "purchase", "user": "spender", "item": "PEARS", "amount": amount, "id": id}]);
    shop.ask("POST", "/v1/events", bought("e1", 9.0)).await;
    let values = || shop.ask("GET", "/v1/users/spender/features", None);
    let first = values().await;
    assert_eq!(first["features"]["spent-30d"]["value"], 9.0);
    assert_eq!(first["features"]["spent-30d"]["as_of"], "2026-01-01T12:00:00Z");
    assert_eq!(first["features"]["spent-30d"]["expires"], "2026-01-02T12:00:00Z");
    assert_eq!(first["features"]["gap"], Value::Null, "one purchase has no rhythm");
    let members = || shop.ask("GET", "/v1/segments/spenders/members", None);
    let before = members().await["persons"].as_array().unwrap().len();
    // A new event counts at once, whatever refresh says; the range ends at a hundred.
    shop.ask("POST", "/v1/events", bought("e2", 900.0)).await;
    assert_eq!(values().await["features"]["spent-30d"]["value"], 100.0);
    assert_eq!(members().await["persons"].as_array().unwrap().len(), before + 1);
    shop.ask("PUT", "/v1/users/spender/consents", json!({"risk": false})).await;
    let second = values().await;
    assert_eq!(
        (&second["withheld"], &second["features"]["risk-items"]),
        (&json!(["risk-items"]), &Value::Null)
    );
    // Brand by the item's label, channel mix, what is bought at a discount, what is searched for.
    shop.ask("PATCH", "/v1/items/PEARS", json!({"labels": ["brand:acme"]})).await;
    let more = json!([
        {"type": "purchase", "user": "spender", "item": "PLUMS", "amount": 5.0, "channel": "Web"},
        {"type": "purchase", "user": "spender", "item": "PLUMS", "amount": 86.0, "discount": 200.0},
        {"type": "search", "user": "spender", "text": "fresh pears"},
        {"type": "search", "user": "spender", "text": "plums"},
        {"type": "purchase", "user": "spender", "item": "PLUMS", "channel": "fax"},
    ]);
    let kept = shop.ask("POST", "/v1/events", more).await;
    assert_eq!((&kept["accepted"], &kept["rejected"][0]["index"]), (&json!(4), &json!(4)));
    let third = values().await;
    let values = ["acme", "web", "bargains", "pears"].map(|name| &third["features"][name]["value"]);
    assert_eq!(values, [&json!(0.5), &json!(0.25), &json!(1.0), &json!(1.0)]);
    let export = shop.ask("GET", "/v1/users/spender/export", None).await;
    let live = export["live"].as_array().unwrap();
    assert_eq!((&live[2]["channel"], &live[3]["discount"]), (&json!("web"), &json!(200.0)));
}

#[tokio::test]
async fn segments_triggers_and_risk_name_their_rules() {
    let shop = Shop::new();
    let at = |hours_ago: i64| chorale_people::calendar::instant(NOW_S - hours_ago * 3600);
    let mut events = vec![
        json!({"type": "cart-add", "user": "carter", "item": "PLUMS", "time": at(5)}),
        json!({"type": "purchase", "user": "new", "item": "PEARS", "time": at(240)}),
    ];
    for number in 0..4 {
        let back = json!({"type": "return", "user": "returner", "item": "PEARS",
            "time": at(number), "id": format!("r{number}")});
        let coupon = json!({"type": "coupon", "user": "clipper", "time": at(number)});
        let failed = json!({"type": "login-failed", "user": "taken", "time": at(1)});
        events.extend([back, coupon.clone(), coupon, failed.clone(), failed]);
    }
    events.push(json!({"type": "login", "user": "taken", "time": at(1)}));
    shop.ask("POST", "/v1/events", json!(events)).await;
    let segments = shop.ask("GET", "/v1/segments", None).await;
    let size = |id: &str| {
        let all = segments["segments"].as_array().unwrap();
        all.iter().find(|segment| segment["id"] == id).unwrap()["size"].as_u64()
    };
    assert_eq!((size("newcomers"), size("one-time")), (Some(1), Some(10)));
    let mut kinds = Vec::new();
    let mut path = "/v1/triggers?count=1".to_owned();
    loop {
        let page = shop.ask("GET", &path, None).await;
        for person in page["persons"].as_array().unwrap() {
            for trigger in person["triggers"].as_array().unwrap() {
                assert!(!trigger["rule"].as_str().unwrap().is_empty());
                kinds.push(trigger["kind"].as_str().unwrap().to_owned());
            }
        }
        match page["next"].as_str() {
            Some(next) => path = format!("/v1/triggers?count=1&cursor={next}"),
            None => break,
        }
    }
    kinds.sort();
    // The regular's pears and the newcomer's were each bought once, 7 to 21 days ago.
    assert_eq!(kinds, ["cart-reminder", "replenishment", "review-request", "review-request"]);
    let only = shop.ask("GET", "/v1/triggers?kind=cart-reminder", None).await;
    assert_eq!(only["persons"][0]["triggers"][0]["items"], json!(["PLUMS"]));
    for (user, kind) in
        [("returner", "returns"), ("clipper", "coupon-abuse"), ("taken", "account-takeover")]
    {
        let risk = shop.ask("GET", &format!("/v1/users/{user}/risk"), None).await;
        assert_eq!(risk["indications"][0]["kind"], kind, "{risk}");
    }
    let risk = shop.ask("GET", &format!("{REGULAR}/risk"), None).await;
    assert_eq!(risk["indications"], json!([]));
    shop.refused("GET", "/v1/segments/unheard-of/members", None, 404).await;
    shop.refused("GET", "/v1/triggers?kind=unheard-of", None, 400).await;
}

#[tokio::test]
async fn purchases_are_attributed_to_the_answer_that_led_to_them() {
    let shop = Shop::new();
    let wish = json!({"user": "CUSTOMER-0000001", "scenario": "cart"});
    let answer = shop.ask("POST", "/v1/recommend", wish).await;
    let id = &answer["request_id"];
    let event = |kind: &str, request: &Value| {
        json!({"type": kind, "user": "CUSTOMER-0000001", "item": "PEARS", "amount": 2.0,
            "request_id": request})
    };
    let events = json!([
        event("impression", id),
        event("click", id),
        event("purchase", &json!(null)),
        event("purchase", &json!("forged"))
    ]);
    shop.ask("POST", "/v1/events", events).await;
    let arms = shop.ask("GET", "/v1/attribution", None).await["arms"].clone();
    let expected = json!([{"scenario": "cart", "model": "none", "answers": 1, "impressions": 1,
        "clicks": 1, "purchases": 2, "amount": 4.0}]);
    assert_eq!(arms, expected);
}

#[tokio::test]
async fn a_batch_is_its_parts() {
    let shop = Shop::new();
    let batch = json!({"requests": [
        {"method": "GET", "path": "/v1/popular?count=1"},
        {"method": "GET", "path": "/v1/users/-/profile", "user": "CUSTOMER-0098765"},
        {"method": "POST", "path": "/v1/recommend", "body": {"user": "x", "count": 0}},
        {"method": "GET", "path": "/v1/users/-/profile"},
        {"method": "POST", "path": "/v1/batch", "body": {}},
        {"method": "TRACE", "path": "/v1/popular"},
        {"method": "GET", "path": "/v1/users/x/export"},
    ]});
    let answer = shop.call(&shop.application, "POST", "/v1/batch", Some(&batch)).await.body;
    let statuses: Vec<u64> = answer["responses"]
        .as_array()
        .unwrap()
        .iter()
        .map(|response| response["status"].as_u64().unwrap())
        .collect();
    assert_eq!(statuses, [200, 200, 400, 400, 400, 400, 403]);
    assert_eq!(answer["responses"][1]["body"]["known"], true);
    assert_eq!(answer["responses"][0]["body"]["items"][0]["item"], "APPLES");
}

#[tokio::test]
async fn what_another_process_changes_is_seen() {
    use chorale_task::{Model, Popularity, Tensor};
    let shop = Shop::new();
    let popularity = Tensor::vector(&[1.0, 1.0, 1.0, 1.0, 90.0, 1.0]).unwrap();
    let model = Model::for_catalogue(&support::catalogue())
        .unwrap()
        .with_tensor("popularity", Popularity::TENSOR, popularity)
        .unwrap();
    store(shop.dir.path()).save_model(&model).unwrap();
    let expected = model.digest().unwrap().to_string();
    let mut answer = Value::Null;
    for _ in 0..200 {
        answer = shop.ask("POST", "/v1/recommend", json!({"user": "NOBODY", "count": 1})).await;
        if answer["model_version"] == expected {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(answer["model_version"], expected);
    assert_eq!(
        (items(&answer)[0], answer["items"][0]["source"].as_str()),
        ("MATCHES", Some("global-popularity"))
    );
    assert!(answer["request_id"].as_str().unwrap().contains(&expected[..8]));
}
