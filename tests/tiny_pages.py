"""Tiny checkpoints of models for pages, with random weights: real classes, real processors, nothing downloaded."""

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    ColModernVBertConfig,
    ColModernVBertForRetrieval,
    ColModernVBertProcessor,
    ColPaliConfig,
    ColPaliForRetrieval,
    ColPaliProcessor,
    ColQwen2Config,
    ColQwen2ForRetrieval,
    ColQwen2Processor,
    PreTrainedTokenizerFast,
)

WORDS = "<pad> <bos> <eos> <unk> Question : Query Describe the image . user User Assistant red apples pears".split()
TEXT = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}
SIGLIP = {"model_type": "siglip_vision_model", "num_hidden_layers": 1, **TEXT}


def tokenizer(special, side):
    """Words and a few special tokens."""
    vocabulary = Tokenizer(models.WordLevel({w: i for i, w in enumerate([*WORDS, *special])}, unk_token="<unk>"))
    vocabulary.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=vocabulary, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>", unk_token="<unk>",
        padding_side=side,
    )  # fmt: skip
    fast.add_special_tokens({"additional_special_tokens": list(special)})
    return fast


def colpali(path):
    """28 x 28 pixels, patches of 7: always 4 x 4 of them, then the prompt."""
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    pictures = SiglipImageProcessorPil(size={"height": 28, "width": 28})
    pictures.image_seq_length = 16
    processor = ColPaliProcessor(pictures, tokenizer(["<image>"], "right"))
    size = len(processor.tokenizer)
    text = {"model_type": "gemma", "vocab_size": size, "num_hidden_layers": 1, "num_key_value_heads": 1, "head_dim": 8}
    config = {
        "model_type": "paligemma",
        "text_config": {**TEXT, **text, "pad_token_id": 0},
        "vision_config": {**SIGLIP, "image_size": 28, "patch_size": 7, "projection_dim": 16, "vision_use_head": False},
        "image_token_id": processor.image_token_id, "projection_dim": 16, "hidden_size": 16, "vocab_size": size,
    }  # fmt: skip
    return save(path, processor, ColPaliForRetrieval, ColPaliConfig(vlm_config=config, embedding_dim=8))


def colqwen2(path):
    """Patches of 4 pixels, 2 x 2 of which become one: a grid of the page's own shape, of 16 patches at most."""
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    special = ["<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|image_pad|>", "<|vision_end|>", "<|endoftext|>"]
    words = tokenizer(special, "left")
    ids = dict(zip(special, words.convert_tokens_to_ids(special), strict=True))
    size = {"shortest_edge": 64 * 4, "longest_edge": 64 * 16}
    pictures = Qwen2VLImageProcessorPil(patch_size=4, merge_size=2, temporal_patch_size=2, size=size)
    text = {"model_type": "qwen2_vl_text", "num_hidden_layers": 1, "num_key_value_heads": 1, "vocab_size": len(words)}
    vision = {"depth": 1, "embed_dim": 16, "hidden_size": 16, "num_heads": 2, "mlp_ratio": 2, "patch_size": 4}
    config = {
        "model_type": "qwen2_vl",
        "text_config": {
            **TEXT, **text, "bos_token_id": 1, "eos_token_id": 2, "max_position_embeddings": 512,
            "rope_scaling": {"type": "mrope", "mrope_section": [1, 1, 2]},
        },
        "vision_config": {**vision, "spatial_merge_size": 2, "temporal_patch_size": 2},
        "image_token_id": ids["<|image_pad|>"], "video_token_id": 0,
        "vision_start_token_id": ids["<|vision_start|>"], "vision_end_token_id": ids["<|vision_end|>"],
    }  # fmt: skip
    config = ColQwen2Config(vlm_config=config, embedding_dim=8)
    return save(path, ColQwen2Processor(pictures, words), ColQwen2ForRetrieval, config)


def colmodernvbert(path):
    """Tiles of 32 pixels with 2 x 2 patches each, four tiles at most along a side, and the whole page small."""
    from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

    tiles = [f"<row_{i}_col_{j}>" for i in range(1, 7) for j in range(1, 7)]
    special = ["<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>", "<|begin_of_text|>"]
    words = tokenizer([*special, *tiles], "left")
    pictures = Idefics3ImageProcessorPil(size={"longest_edge": 64}, max_image_size={"longest_edge": 32})
    text = {"model_type": "modernbert", "vocab_size": len(words), "num_hidden_layers": 2, "pad_token_id": 0}
    ends = {"bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2}
    config = {
        "model_type": "modernvbert",
        "text_config": {**TEXT, **text, **ends, "max_position_embeddings": 512},
        "vision_config": {**SIGLIP, "image_size": 32, "patch_size": 8},
        "image_token_id": words.convert_tokens_to_ids("<image>"), "pixel_shuffle_factor": 2,
    }  # fmt: skip
    processor = ColModernVBertProcessor(pictures, words, image_seq_len=4)
    return save(path, processor, ColModernVBertForRetrieval, ColModernVBertConfig(vlm_config=config, embedding_dim=8))


# Images become placeholders, texts stay, as the chat templates of such models have it.
CHAT = (
    "{% for message in messages %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}{% endfor %} {% endfor %}"
)


def colidefics3(path):
    """An Idefics3 with a projection, as sentence-transformers' own checkpoints have it; pages as `colmodernvbert`."""
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
    from transformers import Idefics3Config, Idefics3Model, Idefics3Processor
    from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

    tiles = [f"<row_{i}_col_{j}>" for i in range(1, 7) for j in range(1, 7)]
    words = tokenizer(["<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>", *tiles], "left")
    pictures = Idefics3ImageProcessorPil(size={"longest_edge": 64}, max_image_size={"longest_edge": 32})
    text = {"model_type": "llama", "vocab_size": len(words), "num_hidden_layers": 1, "num_key_value_heads": 1}
    config = Idefics3Config(
        text_config={**TEXT, **text, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2},
        vision_config={**TEXT, "num_hidden_layers": 1, "image_size": 32, "patch_size": 8},
        image_token_id=words.convert_tokens_to_ids("<image>"), scale_factor=2,
    )  # fmt: skip
    backbone = path.with_name(f"{path.name}-backbone")
    save(backbone, Idefics3Processor(pictures, words, image_seq_len=4, chat_template=CHAT), Idefics3Model, config)
    torch.manual_seed(1)
    modules = [
        Transformer(str(backbone)),
        Dense(16, 8, bias=False, activation_function=torch.nn.Identity(), module_input_name="token_embeddings"),
        MultiVectorMask(),
        Normalize(module_input_name="token_embeddings"),
    ]
    model = MultiVectorEncoder(modules=modules, prompts={"query": "Query: ", "document": ""})
    model.save_pretrained(str(path), create_model_card=False)
    return path


def save(path, processor, model, config):
    """Writes a checkpoint with random weights, the same every time."""
    torch.manual_seed(0)
    model(config).save_pretrained(path)
    processor.save_pretrained(path)
    return path


MAKERS = {"colpali": colpali, "colqwen2": colqwen2, "colmodernvbert": colmodernvbert}


def noise(width, height, seed=0):
    """A picture of which every patch differs."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)
