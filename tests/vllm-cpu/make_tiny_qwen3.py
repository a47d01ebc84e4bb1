#!/usr/bin/env python3
"""Write a Qwen3 model of a few MB with random weights: config, weights, tokenizer, chat template.

usage: VENV/bin/python make_tiny_qwen3.py OUT [--seed N] [--vocabulary N]        (VENV as made by setup.sh)

It speaks gibberish, and that is enough: what the tests look at is how vLLM starts, streams, caches and fails, and a
prompt of some thousand tokens takes long enough on two cores for the prefix cache to show. Nothing is downloaded. The
same seed and the same venv give the same bytes. Another vocabulary is another tokenizer: the same text has more tokens
where it is smaller.

An answer never ends by itself, it always has as many tokens as were asked for. Where a grammar guides it (forced tool
calls, JSON schemas) it keeps to the grammar and comes to an end: see `preferences`.
"""

import argparse
import json
import math
import os
import shutil
import sys
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one thread, one order, one result

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

HIDDEN, LAYERS, HEADS, KV_HEADS, HEAD_DIM, INTERMEDIATE = 128, 2, 4, 2, 32, 384
VOCABULARY = 4096  # unless `--vocabulary` is given
CONTEXT = 40960  # Qwen3's own

END_OF_TEXT, TURN_START, TURN_END = SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
# Single tokens in Qwen3 too, but not special: parsers look for them in the text.
MARKERS = ["<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<think>", "</think>"]

# How Qwen2 and Qwen3 cut text into words before merging bytes.
WORD = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def corpus() -> list[str]:
    """English and code that requirements.txt pins: documentation strings within the venv itself."""
    site = Path(torch.__file__).parent.parent
    files = [site / "torch/_torch_docs.py", site / "torch/_tensor_docs.py"]
    for folder in ("vllm/config", "vllm/entrypoints", "openai/types"):
        files += (site / folder).rglob("*.py")
    return [str(file) for file in sorted(files)]


def tokenizer(vocabulary: int) -> Tokenizer:
    result = Tokenizer(models.BPE())
    result.normalizer = normalizers.NFC()
    result.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORD), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    result.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - len(SPECIAL) - len(MARKERS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    result.train(corpus(), trainer)
    result.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in SPECIAL])
    result.add_tokens([AddedToken(text, special=False, normalized=False) for text in MARKERS])
    assert result.get_vocab_size() == vocabulary
    return result


def preferences(tokens: Tokenizer) -> torch.Tensor:
    """What is added to each token's logit. The logits themselves are random, with a deviation of about 1."""
    vocabulary = tokens.get_vocab_size()
    result = torch.zeros(vocabulary)
    for token in range(vocabulary):
        text = tokens.decode([token], skip_special_tokens=False)
        if text in SPECIAL or "\ufffd" in text:
            # No end by chance, and no halves of characters: only where nothing better is allowed.
            result[token] = -20
        elif text[0] == "<":
            # No tool call or thought by chance, as a marker or spelled in letters. Below the end of the turn, or after
            # one forced call would come the next.
            result[token] = -30
        elif not text.strip():
            # Grammars allow white space nearly everywhere, without end.
            result[token] = -40
        elif text.isdigit():
            result[token] = -3  # numbers come to an end ...
        elif text[0] == '"':
            result[token] = 1.5  # ... and so do strings
    return result


def weights(seed: int, preferred: torch.Tensor) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    vocabulary = len(preferred)

    def normal(*shape: int) -> torch.Tensor:
        # Keeps the size of what passes through, so that the layers matter beside the embedding.
        scale = 1 / math.sqrt(shape[-1])
        return (torch.randn(*shape, generator=generator) * scale).to(torch.bfloat16)

    def ones(size: int) -> torch.Tensor:
        return torch.ones(size, dtype=torch.bfloat16)

    tensors = {"model.embed_tokens.weight": normal(vocabulary, HIDDEN), "model.norm.weight": ones(HIDDEN)}
    for layer in range(LAYERS):
        tensors |= {
            f"model.layers.{layer}.{name}": tensor
            for name, tensor in {
                "input_layernorm.weight": ones(HIDDEN),
                "self_attn.q_proj.weight": normal(HEADS * HEAD_DIM, HIDDEN),
                "self_attn.k_proj.weight": normal(KV_HEADS * HEAD_DIM, HIDDEN),
                "self_attn.v_proj.weight": normal(KV_HEADS * HEAD_DIM, HIDDEN),
                "self_attn.o_proj.weight": normal(HIDDEN, HEADS * HEAD_DIM),
                # Sharp attention: with flat attention the next token hangs on the last one only, and the text soon goes
                # round in a circle.
                "self_attn.q_norm.weight": 8 * ones(HEAD_DIM),
                "self_attn.k_norm.weight": ones(HEAD_DIM),
                "post_attention_layernorm.weight": ones(HIDDEN),
                "mlp.gate_proj.weight": normal(INTERMEDIATE, HIDDEN),
                "mlp.up_proj.weight": normal(INTERMEDIATE, HIDDEN),
                "mlp.down_proj.weight": normal(HIDDEN, INTERMEDIATE),
            }.items()
        }
    # A head of its own: with a tied one a random model repeats its last token for ever.
    tensors["lm_head.weight"] = normal(vocabulary, HIDDEN)
    # Qwen3's head has no bias, so one of the hidden numbers serves: every token starts with a 1 there and no layer adds
    # to it, so that it reaches the head as the same positive number, whatever the text.
    tensors["model.embed_tokens.weight"][:, 0] = 1
    for layer in range(LAYERS):
        tensors[f"model.layers.{layer}.self_attn.o_proj.weight"][0] = 0
        tensors[f"model.layers.{layer}.mlp.down_proj.weight"][0] = 0
    tensors["lm_head.weight"][:, 0] = preferred.to(torch.bfloat16)
    return tensors


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("out", type=Path)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--vocabulary", type=int, default=VOCABULARY)
    arguments = options.parse_args()
    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)

    def write(name: str, content: dict) -> None:
        (out / name).write_text(json.dumps(content, indent=2) + "\n")

    tokens = tokenizer(arguments.vocabulary)
    tokens.save(str(out / "tokenizer.json"))
    shutil.copyfile(Path(__file__).with_name("chat_template.jinja"), out / "chat_template.jinja")
    write(
        "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": CONTEXT,
            "bos_token": None,
            "eos_token": TURN_END,
            "pad_token": END_OF_TEXT,
            "unk_token": None,
            "additional_special_tokens": [TURN_START, TURN_END],
            "clean_up_tokenization_spaces": False,
        },
    )
    stop, pad = tokens.token_to_id(TURN_END), tokens.token_to_id(END_OF_TEXT)
    # Qwen3's own sampling, since vLLM takes its defaults from here.
    write(
        "generation_config.json",
        {
            "eos_token_id": [stop, pad],
            "pad_token_id": pad,
            "do_sample": True,
            "temperature": 0.6,
            "top_k": 20,
            "top_p": 0.95,
        },
    )
    write(
        "config.json",
        {
            "architectures": ["Qwen3ForCausalLM"],
            "model_type": "qwen3",
            "torch_dtype": "bfloat16",
            "vocab_size": arguments.vocabulary,
            "hidden_size": HIDDEN,
            "intermediate_size": INTERMEDIATE,
            "num_hidden_layers": LAYERS,
            "max_window_layers": LAYERS,
            "num_attention_heads": HEADS,
            "num_key_value_heads": KV_HEADS,
            "head_dim": HEAD_DIM,
            "max_position_embeddings": CONTEXT,
            "rope_theta": 1000000.0,
            "rope_scaling": None,
            "rms_norm_eps": 1e-6,
            "hidden_act": "silu",
            "attention_bias": False,
            "attention_dropout": 0.0,
            "initializer_range": 0.02,
            "sliding_window": None,
            "use_sliding_window": False,
            "tie_word_embeddings": False,
            "use_cache": True,
            "bos_token_id": pad,
            "eos_token_id": stop,
        },
    )
    save_file(weights(arguments.seed, preferences(tokens)), out / "model.safetensors", metadata={"format": "pt"})
    (out / "model.safetensors").chmod(0o644)  # safetensors writes 0600, which a container's user could not read
    size = sum(file.stat().st_size for file in out.iterdir())
    print(f"{out}: {size / 1e6:.1f} MB", file=sys.stderr)


if __name__ == "__main__":
    main()
