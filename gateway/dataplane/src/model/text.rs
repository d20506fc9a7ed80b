//! From a caller's text to token ids, by the tokenizer in the model directory.
//!
//! A text is cut by bytes first, so that a megabyte costs no more than the first page of it, then
//! tokenised and cut to the contract's number of tokens. Nothing is padded here.

use tokenizers::{PaddingParams, Tokenizer, TruncationParams};

use super::contract::Text;
use super::directory::VerifiedModel;
use crate::executor::Tokens;

pub struct TextStage {
    tokenizer: Tokenizer,
    max_bytes: usize,
}

impl TextStage {
    /// The tokenizer of a text model; `None` for any other.
    ///
    /// # Errors
    /// The tokenizer's file is missing or is not one.
    pub fn open(model: &VerifiedModel) -> Result<Option<Self>, String> {
        let Some(text) = &model.contract.text else {
            return Ok(None);
        };
        Self::of(text, model.file(&text.tokenizer)?).map(Some)
    }

    fn of(text: &Text, file: &[u8]) -> Result<Self, String> {
        let refuse = |e| format!("'{}' is not a tokenizer: {e}", text.tokenizer);
        let mut tokenizer = Tokenizer::from_bytes(file).map_err(refuse)?;
        let truncation = TruncationParams {
            max_length: text.max_tokens,
            ..TruncationParams::default()
        };
        tokenizer
            .with_truncation(Some(truncation))
            .map_err(refuse)?;
        // Whatever the file says: rows are filled up to the batch's longest, when it is known.
        tokenizer.with_padding(None::<PaddingParams>);
        Ok(Self {
            tokenizer,
            max_bytes: text.max_bytes,
        })
    }

    /// The token ids of one text, special tokens included.
    ///
    /// # Errors
    /// The tokenizer cannot take the text.
    pub fn tokens(&self, text: &str) -> Result<Tokens, String> {
        let text = cut(text, self.max_bytes);
        let encoding = self.tokenizer.encode_fast(text, true);
        let encoding = encoding.map_err(|e| format!("the text cannot be tokenised: {e}"))?;
        Ok(encoding.get_ids().into())
    }
}

/// The longest prefix of whole characters in at most `max_bytes` bytes.
fn cut(text: &str, max_bytes: usize) -> &str {
    &text[..text.floor_char_boundary(max_bytes)]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Words a, b and c; [CLS] and [SEP] around, as BERT's; a stranger is [UNK].
    pub const TOKENIZER: &str = r###"{
        "version": "1.0",
        "truncation": {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0},
        "padding": {"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": null,
                    "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"},
        "added_tokens": [],
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}},
                       {"Sequence": {"id": "A", "type_id": 0}},
                       {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {
                "[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]},
                "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]}
            }
        },
        "decoder": null,
        "model": {"type": "WordLevel", "unk_token": "[UNK]",
                  "vocab": {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "a": 4, "b": 5, "c": 6}}
    }"###;

    fn text(max_tokens: usize, max_bytes: usize) -> Text {
        let rest = "ids = \"i\"\nmask = \"m\"\ndatatype = \"INT64\"";
        let own = format!("max_tokens = {max_tokens}\nmax_bytes = {max_bytes}");
        toml::from_str(&format!(
            "input = \"text\"\ntokenizer = \"t.json\"\n{own}\n{rest}"
        ))
        .unwrap()
    }

    fn stage(max_tokens: usize, max_bytes: usize) -> TextStage {
        TextStage::of(&text(max_tokens, max_bytes), TOKENIZER.as_bytes()).unwrap()
    }

    #[test]
    fn a_text_becomes_its_tokens_without_padding() {
        assert_eq!(*stage(8, 100).tokens("A b zebra").unwrap(), [2, 4, 5, 1, 3]);
        assert_eq!(*stage(8, 100).tokens("").unwrap(), [2, 3]);
    }

    #[test]
    fn the_contracts_length_counts_not_the_files() {
        assert_eq!(*stage(5, 100).tokens("a b c a b").unwrap(), [2, 4, 5, 6, 3]);
    }

    #[test]
    fn bytes_are_cut_before_anything_else_at_a_character() {
        assert_eq!(*stage(8, 3).tokens("a b c").unwrap(), [2, 4, 5, 3]);
        assert_eq!(cut("aäb", 2), "a");
        assert_eq!(cut("aäb", 3), "aä");
        assert_eq!(cut("ab", 9), "ab");
        let long = "a ".repeat(1 << 20);
        assert_eq!(stage(8, 4).tokens(&long).unwrap().len(), 4);
    }

    #[test]
    fn what_is_no_tokenizer_is_refused() {
        let error = TextStage::of(&text(8, 100), b"{}").err().unwrap();
        assert!(error.contains("'t.json' is not a tokenizer"), "{error}");
    }
}
