use super::*;

fn request(body: Value) -> ChatRequest {
    serde_json::from_value(body).unwrap()
}

#[test]
fn limits_are_refused_in_vllms_words() {
    let plain = request(json!({"messages": []}));
    assert_eq!(output_limit(&plain, 100, 8192), Ok(8092));
    let refused = output_limit(&plain, 9000, 8192).unwrap_err();
    // As captured from vLLM 0.32.0.
    assert_eq!(
        refused.body.to_string(),
        "{\"error\":{\"message\":\"This model's maximum context length is 8192 tokens. However, \
         your prompt contains at least 8193 input tokens, which exceeds this limit even without \
         any output tokens. Please reduce the length of the input prompt. \
         (parameter=input_tokens, value=8193)\",\"type\":\"BadRequestError\",\
         \"param\":\"input_tokens\",\"code\":400}}"
    );
    let long = request(json!({"messages": [], "max_tokens": 8100}));
    assert!(output_limit(&long, 100, 8192).is_err());
    let none = request(json!({"messages": [], "max_completion_tokens": 0}));
    assert!(output_limit(&none, 100, 8192).is_err());
}

#[test]
fn bodies_that_are_no_requests_are_400() {
    let error = serde_json::from_str::<ChatRequest>("{nonsense").unwrap_err();
    let refused = Refused::malformed(&error);
    assert!(refused.body["error"]["message"].as_str().unwrap().contains("json_invalid"));
    let error = serde_json::from_str::<ChatRequest>("{}").unwrap_err();
    let refused = Refused::malformed(&error);
    let message = refused.body["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("'loc': ('body', 'messages')"), "{message}");
}
