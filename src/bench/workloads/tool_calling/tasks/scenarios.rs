//! The scenarios: what the user wants, and the calls that do it.

use rand::Rng;
use rand::RngExt;
use rand::seq::{IndexedRandom, SliceRandom};
use serde_json::{Value, json};

use super::{Call, Step, Task, tools};

const CITIES: [&str; 12] = [
    "Lyon", "Oslo", "Porto", "Quebec", "Turin", "Vienna", "Nantes", "Dublin", "Geneva", "Kyoto",
    "Bergen", "Lille",
];
const NAMES: [&str; 10] =
    ["Anna", "Bertrand", "Chloe", "David", "Elsa", "Frank", "Gilles", "Helen", "Ivan", "Juliette"];
const FAMILIES: [&str; 8] =
    ["Moreau", "Lindqvist", "Okafor", "Tanaka", "Dubois", "Marsh", "Keller", "Rossi"];
const DISHES: [&str; 8] =
    ["bread", "eggs", "rice", "lasagne", "tea", "potatoes", "cake", "lentils"];
const CURRENCIES: [&str; 6] = ["EUR", "USD", "CHF", "GBP", "JPY", "SEK"];
const BUILDINGS: [&str; 5] = ["Curie", "Pasteur", "Ampere", "Descartes", "Lovelace"];
const TOPICS: [&str; 6] = [
    "Budget review",
    "Sprint planning",
    "Hiring round",
    "Release retrospective",
    "Security audit",
    "Roadmap workshop",
];

fn pick<'a>(from: &[&'a str], random: &mut impl Rng) -> &'a str {
    from.choose(random).copied().unwrap_or_default()
}

fn date(random: &mut impl Rng) -> String {
    format!("2027-{:02}-{:02}", random.random_range(1..=12), random.random_range(1..=28))
}

fn all_simple(random: &mut impl Rng) -> Vec<Value> {
    let mut offered = vec![tools::weather(), tools::timer(), tools::currency()];
    offered.shuffle(random);
    offered
}

fn weather(city: &str, date: &str) -> (Call, Value) {
    let call = Call { name: "get_weather", arguments: json!({"city": city, "date": date}) };
    (call, json!({"city": city, "sky": "clear"}))
}

fn timer(minutes: u32, label: &str) -> (Call, Value) {
    let call = Call { name: "set_timer", arguments: json!({"minutes": minutes, "label": label}) };
    (call, json!({"set": true}))
}

fn currency(random: &mut impl Rng) -> (String, Call, Value) {
    let mut codes = CURRENCIES;
    codes.shuffle(random);
    // Quarters: exact as numbers, and to be copied digit by digit.
    let quarters = random.random_range(10u32..1000) * 4 + random.random_range(1..4);
    let amount = f64::from(quarters) / 4.0;
    let (from, to) = (codes[0], codes[1]);
    let arguments = json!({"amount": amount, "from": from, "to": to});
    let prompt = format!("How much are {amount} {from} in {to} today?");
    (prompt, Call { name: "convert_currency", arguments }, json!({"rate": 1.25}))
}

/// One call out of three tools.
pub(super) fn single(random: &mut impl Rng) -> Task {
    let (prompt, call) = match random.random_range(0..3) {
        0 => {
            let (city, date) = (pick(&CITIES, random), date(random));
            (format!("What will the weather be in {city} on {date}?"), weather(city, &date))
        }
        1 => {
            let (minutes, dish) = (random.random_range(2..=90), pick(&DISHES, random));
            let prompt = format!("Set a timer of {minutes} minutes for the {dish}, please.");
            (prompt, timer(minutes, dish))
        }
        _ => {
            let (prompt, call, result) = currency(random);
            (prompt, (call, result))
        }
    };
    Task::auto(prompt, all_simple(random), Step::Calls(vec![call]))
}

/// A question that no tool on offer helps with.
pub(super) fn unwanted(random: &mut impl Rng) -> Task {
    let (a, b) = (random.random_range(12..60), random.random_range(12..40));
    let name = pick(&NAMES, random);
    let prompt = match random.random_range(0..4) {
        0 => format!(
            "Without looking anything up: write one friendly sentence to thank {name} for {a} \
             years of work."
        ),
        1 => format!("Which of the two numbers {a} and {} is larger? One sentence, please.", a + b),
        2 => {
            format!("{name} has {a} apples and eats {b} grapes. Explain what a grape is, briefly.")
        }
        _ => format!(
            "Translate into French, and say nothing else: \"Good morning {name}, the {a} chairs \
             and {b} tables are here.\""
        ),
    };
    Task::auto(prompt, all_simple(random), Step::Text(String::new()))
}

/// Four turns: find somebody, list the orders, refund one, report the number.
pub(super) fn chain(random: &mut impl Rng) -> Task {
    let name = format!("{} {}", pick(&NAMES, random), pick(&FAMILIES, random));
    let customer = format!("C-{}", random.random_range(10_000..100_000));
    let mut dishes = DISHES;
    dishes.shuffle(random);
    let mut orders: Vec<(String, u32, &str)> = Vec::new();
    for item in &dishes[..3] {
        let number = random.random_range(100_000..1_000_000);
        orders.push((format!("O-{number}"), random.random_range(500..9000), item));
    }
    let (order, cents, item) = orders[random.random_range(0..3)].clone();
    let refund = format!("R-{}", random.random_range(100_000..1_000_000));
    let listed: Vec<Value> = orders
        .iter()
        .map(|(id, cents, item)| json!({"order_id": id, "item": item, "amount_cents": cents}))
        .collect();
    let step = |name, arguments: Value, result: Value| {
        Step::Calls(vec![(Call { name, arguments }, result)])
    };
    let mut offered = vec![tools::find_customer(), tools::list_orders(), tools::refund_order()];
    offered.shuffle(random);
    Task {
        prompt: format!(
            "The customer {name} wants the whole price of the {item} back. Find the customer, look \
             at the orders, refund that order in full, and then tell me the number of the refund."
        ),
        tools: offered,
        choice: json!("auto"),
        steps: vec![
            step("find_customer", json!({"name": name}), json!({"customer_id": customer})),
            step(
                "list_orders",
                json!({"customer_id": customer}),
                json!({"customer_id": customer, "orders": listed}),
            ),
            step(
                "refund_order",
                json!({"order_id": order, "amount_cents": cents}),
                json!({"order_id": order, "refund_number": refund}),
            ),
            Step::Text(refund),
        ],
    }
}

/// One call whose arguments hold objects and a list of objects.
pub(super) fn nested(random: &mut impl Rng) -> Task {
    let mut names = NAMES;
    names.shuffle(random);
    let count = random.random_range(2..=4);
    let people: Vec<(&str, String, bool)> = names[..count]
        .iter()
        .map(|name| {
            let email = format!("{}@example.org", name.to_lowercase());
            (*name, email, random.random_range(0..2) == 1)
        })
        .collect();
    let (title, building) = (pick(&TOPICS, random), pick(&BUILDINGS, random));
    let room = random.random_range(100..400);
    let minutes = random.random_range(1..=12) * 5;
    let hour = format!("{:02}:{:02}", random.random_range(8..18), random.random_range(0..4) * 15);
    let start = format!("{}T{hour}", date(random));
    let described: Vec<String> = people
        .iter()
        .map(|(name, email, optional)| format!("{name} ({email}, optional: {optional})"))
        .collect();
    let prompt = format!(
        "Create a meeting with the title \"{title}\", start {start}, in the building {building}, \
         room {room}. Attendees, in this order: {}. Remind them {minutes} minutes before.",
        described.join(", ")
    );
    let attendees: Vec<Value> = people
        .iter()
        .map(|(name, email, optional)| json!({"name": name, "email": email, "optional": optional}))
        .collect();
    let arguments = json!({
        "title": title,
        "start": start,
        "place": {"building": building, "room": room},
        "attendees": attendees,
        "reminder": {"minutes_before": minutes},
    });
    let call = Call { name: "create_meeting", arguments };
    let offered = vec![tools::timer(), tools::create_meeting(), tools::weather()];
    Task::auto(prompt, offered, Step::Calls(vec![(call, json!({"created": true}))]))
}

/// Three or four calls in one answer, of two tools.
pub(super) fn parallel(random: &mut impl Rng) -> Task {
    let mut cities = CITIES;
    cities.shuffle(random);
    let cities = &cities[..random.random_range(2..=3)];
    let day = date(random);
    let (minutes, dish) = (random.random_range(2..=90), pick(&DISHES, random));
    let prompt = format!(
        "Do all of this at once, with one call for each: the weather on {day} in {}, and a timer \
         of {minutes} minutes for the {dish}.",
        cities.join(" and in ")
    );
    let mut calls: Vec<(Call, Value)> = cities.iter().map(|city| weather(city, &day)).collect();
    calls.push(timer(minutes, dish));
    Task::auto(prompt, all_simple(random), Step::Calls(calls))
}

/// A call is demanded; which one, and with what values, is the model's to find.
pub(super) fn required(random: &mut impl Rng) -> Task {
    Task { choice: json!("required"), ..single(random) }
}

/// The function is named; the values are the model's to find.
pub(super) fn named(random: &mut impl Rng) -> Task {
    let mut task = single(random);
    let name = match &task.steps[..] {
        [Step::Calls(calls)] => calls.first().map_or("", |(call, _)| call.name),
        _ => "",
    };
    task.choice = json!({"type": "function", "function": {"name": name}});
    task
}
