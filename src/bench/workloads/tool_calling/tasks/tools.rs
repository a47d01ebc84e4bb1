//! The tools on offer, as a request lists them.

use serde_json::{Value, json};

fn function(name: &str, description: &str, properties: &Value, required: &[&str]) -> Value {
    json!({"type": "function", "function": {
        "name": name,
        "description": description,
        "parameters": {
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": false,
        },
    }})
}

pub(super) fn weather() -> Value {
    function(
        "get_weather",
        "The weather forecast of a city for a day.",
        &json!({
            "city": {"type": "string", "description": "Name of the city, without a country"},
            "date": {"type": "string", "description": "The day, as YYYY-MM-DD",
                     "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"},
        }),
        &["city", "date"],
    )
}

pub(super) fn timer() -> Value {
    function(
        "set_timer",
        "Sets a kitchen timer.",
        &json!({
            "minutes": {"type": "integer", "minimum": 1, "maximum": 600},
            "label": {"type": "string", "description": "What the timer is for, in one word"},
        }),
        &["minutes", "label"],
    )
}

pub(super) fn currency() -> Value {
    let code = json!({"type": "string", "enum": ["EUR", "USD", "CHF", "GBP", "JPY", "SEK"]});
    function(
        "convert_currency",
        "Converts an amount of money at today's rate.",
        &json!({
            "amount": {"type": "number", "exclusiveMinimum": 0},
            "from": code.clone(),
            "to": code,
        }),
        &["amount", "from", "to"],
    )
}

pub(super) fn find_customer() -> Value {
    function(
        "find_customer",
        "Finds a customer's id by the full name.",
        &json!({"name": {"type": "string"}}),
        &["name"],
    )
}

pub(super) fn list_orders() -> Value {
    function(
        "list_orders",
        "Lists a customer's orders.",
        &json!({"customer_id": {"type": "string"}}),
        &["customer_id"],
    )
}

pub(super) fn refund_order() -> Value {
    function(
        "refund_order",
        "Refunds an order in full or in part. Gives the refund's number.",
        &json!({
            "order_id": {"type": "string"},
            "amount_cents": {"type": "integer", "minimum": 1},
        }),
        &["order_id", "amount_cents"],
    )
}

pub(super) fn create_meeting() -> Value {
    let attendee = json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "description": "First name"},
            "email": {"type": "string"},
            "optional": {"type": "boolean", "description": "Need not come"},
        },
        "required": ["name", "email", "optional"],
        "additionalProperties": false,
    });
    function(
        "create_meeting",
        "Puts a meeting into the calendar.",
        &json!({
            "title": {"type": "string"},
            "start": {"type": "string", "description": "As YYYY-MM-DDTHH:MM"},
            "place": {
                "type": "object",
                "properties": {
                    "building": {"type": "string", "description": "Name of the building alone"},
                    "room": {"type": "integer"},
                },
                "required": ["building", "room"],
                "additionalProperties": false,
            },
            "attendees": {"type": "array", "items": attendee, "minItems": 1,
                          "description": "In the order in which they are named"},
            "reminder": {
                "type": "object",
                "properties": {"minutes_before": {"type": "integer", "minimum": 0}},
                "required": ["minutes_before"],
                "additionalProperties": false,
            },
        }),
        &["title", "start", "place", "attendees", "reminder"],
    )
}
