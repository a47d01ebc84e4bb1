//! `tool_choice`: which tools an answer may or must call, or why vLLM refuses the request.

use serde_json::Value;

use super::{ChatRequest, Refused};
use crate::simulator::settings::Settings;

/// Which tools an answer may or must call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ToolChoice<'a> {
    /// No call: there are no tools, or `none`.
    Never,
    /// The model decides.
    Auto,
    /// A call of one of these tools.
    Required(&'a [Value]),
    /// A call of this tool.
    Named(&'a Value),
}

/// Reads `tool_choice`.
///
/// # Errors
/// With vLLM's words, where there is no parser for calls, or no such tool.
pub fn tool_choice<'a>(
    request: &'a ChatRequest,
    settings: &Settings,
) -> Result<ToolChoice<'a>, Refused> {
    let tools = request.tools.as_ref().and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if tools.is_empty() {
        return Ok(ToolChoice::Never);
    }
    let named = |choice: &'a Value| choice.get("function")?.get("name")?.as_str();
    let auto = Value::from("auto");
    let choice = request.tool_choice.as_ref().unwrap_or(&auto);
    match (choice.as_str(), request.tool_choice.as_ref().and_then(named)) {
        (Some("none"), _) => Ok(ToolChoice::Never),
        (Some("auto"), _) if settings.auto_tool_choice && settings.tool_parser.is_some() => {
            Ok(ToolChoice::Auto)
        }
        (Some("auto"), _) => Err(Refused::bad_request(
            None,
            "\"auto\" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set",
        )),
        (Some("required"), _) | (_, Some(_)) if settings.tool_parser.is_none() => {
            let shown = choice.as_str().map_or_else(|| choice.to_string(), str::to_owned);
            let message = format!("tool_choice=\"{shown}\" requires --tool-call-parser to be set");
            Err(Refused::bad_request(None, &message))
        }
        (Some("required"), _) => Ok(ToolChoice::Required(tools)),
        (_, Some(name)) => {
            let is_it = |tool: &&Value| {
                tool.get("function").and_then(|function| function.get("name"))
                    == Some(&Value::from(name))
            };
            tools.iter().find(is_it).map(ToolChoice::Named).ok_or_else(|| {
                Refused::bad_request(
                    Some("tool_choice"),
                    "The tool specified in `tool_choice` does not match any of the specified `tools`",
                )
            })
        }
        _ => Err(Refused::bad_request(
            Some("tool_choice"),
            "Invalid value for `tool_choice`: it must be \"none\", \"auto\", \"required\" or a named tool",
        )),
    }
}
