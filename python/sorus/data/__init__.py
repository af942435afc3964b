"""What models are trained on: texts, tokenizers, sets of images.

    text = load_text(["/usr/lib/python3.11"], vocab_size=1024)      # trains a tokenizer, encodes, keeps both
    train = TextDataset(text.train, context=64)                     # samples: 64 tokens and the next 64
    digits = MNIST("data/mnist", train=True)                        # samples: f32[1, 28, 28] and the label

The loader is sorus.utils.data.DataLoader.
"""

from .._core._data import (
    CIFAR10,
    CIFAR100,
    MNIST,
    ByteLevelBPE,
    ByteTokenizer,
    CharTokenizer,
    Corpus,
    CorpusFile,
    Dataset,
    ImageDataset,
    Subset,
    TensorDataset,
    TextData,
    TextDataset,
    Tokenizer,
    cache_folder,
    encode_files,
    gather_corpus,
    load_text,
    load_tokenizer,
)
from ..utils.data import DataLoader, random_split
