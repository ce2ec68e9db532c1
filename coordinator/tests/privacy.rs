//! `coordinator privacy` as people and machines meet it.
#![allow(missing_docs, clippy::unwrap_used)]

use std::{fs, path::Path, process::Command};

use serde_json::Value;

/// Exit code, standard output and standard error.
fn ask(arguments: &str) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_coordinator"))
        .arg("privacy")
        .args(arguments.split_whitespace())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn json(arguments: &str) -> Value {
    let (code, out, err) = ask(&format!("{arguments} --json"));
    assert_eq!(code, 0, "{arguments}: {err}");
    serde_json::from_str(&out).unwrap()
}

fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_else(|| panic!("no number {key} in {value}"))
}

fn refused(arguments: &str, expected_code: i32, words: &[&str]) {
    let (code, out, err) = ask(arguments);
    assert_eq!(code, expected_code, "{arguments}: {out}{err}");
    for word in words {
        assert!(err.contains(word), "{arguments}: '{word}' is not in: {err}");
    }
}

#[test]
fn every_mechanism_has_an_epsilon() {
    // dp_accounting 0.6.0, PLD on a grid of 1e-4.
    for (arguments, expected) in [
        ("--mechanism gaussian --sigma 2 --steps 10", 7.511_275),
        ("--mechanism poisson-gaussian --sigma 1 --sampling 0.01 --steps 1000", 1.828_243),
        ("--mechanism laplace --sigma 10 --steps 100", 4.220_347),
        ("--mechanism poisson-laplace --sigma 2 --sampling 0.1 --steps 100", 1.892_438),
        ("--mechanism discrete-gaussian --sigma 8 --sensitivity 4 --steps 10", 7.511_088),
        ("--mechanism discrete-laplace --sigma 0.1 --steps 100", 4.306_791),
    ] {
        let found = json(&format!("epsilon {arguments} --delta 1e-5 --accountant pld"));
        assert!((number(&found, "epsilon") - expected).abs() < 1e-4, "{arguments}: {found}");
    }
    let plain = "epsilon --mechanism gaussian --sigma 2 --steps 10 --delta 1e-5 --accountant";
    let by = |accountant: &str| number(&json(&format!("{plain} {accountant}")), "epsilon");
    assert_eq!(by("pld"), by("gdp"));
    assert!(by("gdp") < by("zcdp") && by("zcdp") <= by("rdp"));
    let (code, out, _) = ask(&format!("{plain} gdp"));
    assert_eq!(code, 0);
    assert!(out.contains("ε = 7.511276") && out.contains("times in 100"), "{out}");
}

#[test]
fn a_plan_in_a_file_is_a_mixture() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plan.json");
    let list = r#"[{"mechanism": "gaussian", "sigma": 5, "steps": 100},
                   {"mechanism": "laplace", "sigma": 20, "steps": 10}]"#;
    fs::write(&file, list).unwrap();
    let name = file.display();
    let found = json(&format!("epsilon --plan {name} --delta 1e-5"));
    assert!((number(&found, "epsilon") - 10.034_979).abs() < 1e-4, "{found}");
    // What was printed can be asked again.
    fs::write(&file, found["events"].to_string()).unwrap();
    let again = json(&format!("epsilon --plan {name} --delta 1e-5"));
    assert_eq!(found, again);
    let louder = json(&format!("calibrate --plan {name} --epsilon 2 --delta 1e-5"));
    let epsilon = number(&louder, "epsilon");
    assert!(epsilon <= 2.0 && epsilon > 1.999, "{louder}");
    assert!(number(&louder, "factor") > 3.0, "{louder}");
    // A slip of the pen is named.
    fs::write(&file, list.replace("sigma", "sigmma")).unwrap();
    refused(&format!("epsilon --plan {name} --delta 1e-5"), 1, &["plan.json", "sigmma"]);
    fs::write(&file, list.replace("laplace", "zcdp")).unwrap();
    refused(&format!("epsilon --plan {name} --delta 1e-5"), 1, &["zcdp", "rho"]);
    refused("epsilon --plan nowhere.json --delta 1e-5", 1, &["nowhere.json", "check the path"]);
}

#[test]
fn noise_is_found_and_not_overshot() {
    for accountant in ["pld", "rdp", "gdp", "zcdp"] {
        let found = json(&format!(
            "calibrate --mechanism gaussian --steps 10 --epsilon 4 --delta 1e-5 \
             --accountant {accountant}"
        ));
        assert!(number(&found, "epsilon") <= 4.0, "{found}");
        let sigma = number(&found, "sigma");
        let back = json(&format!(
            "epsilon --mechanism gaussian --steps 10 --sigma {sigma} --delta 1e-5 \
             --accountant {accountant}"
        ));
        assert_eq!(number(&back, "epsilon"), number(&found, "epsilon"));
    }
    // A larger parameter is less noise: the largest is sought.
    let found = json("calibrate --mechanism discrete-laplace --steps 10 --epsilon 1 --delta 1e-5");
    let parameter = number(&found, "sigma");
    assert!(parameter > 0.1 && parameter < 0.2, "{found}");
}

#[test]
fn what_cannot_be_answered_is_explained() {
    let plain = "epsilon --mechanism gaussian --sigma 1";
    refused(&format!("{plain} --delta 1e-12"), 1, &["1e-11", "gdp"]);
    refused(&format!("{plain} --delta 2"), 1, &["δ = 2"]);
    refused(&format!("{plain} --delta 1e-5 --sampling 0.1"), 1, &["poisson-gaussian"]);
    refused("epsilon --mechanism gaussian --delta 1e-5", 1, &["sigma"]);
    refused("epsilon --mechanism laplace --sigma -1 --delta 1e-5", 1, &["sigma = -1"]);
    refused("epsilon --mechanism laplace --sigma 0 --delta 1e-5", 1, &["sigma = 0"]);
    refused("epsilon --mechanism laplace --sigma NaN --delta 1e-5", 2, &["a number"]);
    refused("epsilon --mechanism laplace --sigma 1 --delta 1e-5 --steps 0", 1, &["steps"]);
    refused("epsilon --mechanism laplace --sigma 1 --delta 1e-5 --accountant gdp", 1, &["use pld"]);
    refused("epsilon --delta 1e-5", 2, &["--mechanism"]);
    refused("epsilon --mechanism guess --sigma 1 --delta 1e-5", 2, &["possible values"]);
    let sampled = "--mechanism poisson-gaussian --sigma 1 --sampling 0.1 --delta 1e-5";
    refused(&format!("epsilon {sampled} --accountant zcdp"), 1, &["sampling", "use pld"]);
    refused(&format!("calibrate {sampled} --epsilon 1"), 1, &["calibrate looks for"]);
    refused("epsilon --mechanism laplace --sigma 1e-9 --delta 1e-5", 1, &["too little noise"]);
}

#[test]
fn rounds_that_fit_into_a_budget() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("budget.json");
    let list = r#"{"epsilon": 4, "delta": 1e-5,
        "spent": [{"mechanism": "laplace", "sigma": 10}],
        "plans": [{"name": "taste", "round": [{"mechanism": "gaussian", "sigma": 5}]},
                  {"name": "dear", "round": [{"mechanism": "gaussian", "sigma": 0.5}]}]}"#;
    fs::write(&file, list).unwrap();
    let found = json(&format!("forecast {}", file.display()));
    let rounds = found["plans"][0]["rounds"].as_u64().unwrap();
    // μ² = rounds/25 of at most 0.925², less what the Laplace release took.
    assert!((18..=21).contains(&rounds), "{found}");
    assert!(number(&found["plans"][0], "epsilon") <= 4.0);
    assert_eq!(found["plans"][1]["rounds"], 0);
    let (code, out, err) = ask(&format!("forecast {}", file.display()));
    assert!(code == 0 && out.contains("taste") && out.contains(&rounds.to_string()), "{out}{err}");
    refused(&format!("forecast {} --ledger x.jsonl", file.display()), 1, &[".toml"]);
}

#[test]
fn rounds_that_fit_into_a_federations_budget() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let config = root.join("deploy/coordinator.example.toml");
    let found = json(&format!("forecast {}", config.display()));
    let plans = found["plans"].as_array().unwrap();
    assert!(!plans.is_empty());
    for plan in plans {
        // A plan that fits its share fits the whole budget at least as often as it is planned.
        assert!(plan["rounds"].as_u64().unwrap() >= plan["planned"].as_u64().unwrap(), "{plan}");
        assert_eq!(plan["beyond"], 0, "{plan}");
    }
    refused("forecast nowhere.toml", 1, &["nowhere.toml"]);
}
