// Cuts text into words as GPT-2 does before byte-pair encoding: contractions, letters, digits, other signs, each with
// one space before them, and runs of white space. The cut is by PCRE2; bytes that are not UTF-8 become words of one
// byte each, so that any content can be encoded.
#pragma once

#include <memory>
#include <string_view>

namespace sorus::data {

class WordSplitter {
 public:
  explicit WordSplitter(std::string_view text);
  ~WordSplitter();
  /// The next word, a view into the text; false at the end.
  bool next(std::string_view& word);

  /// A place at or after `from` where cutting the text does not change the words; `text.size()` if there is none.
  static size_t safe_cut(std::string_view text, size_t from);

 private:
  struct Match;
  std::unique_ptr<Match> match_;
  std::string_view text_;
  size_t at_ = 0, valid_end_ = 0;
};

}  // namespace sorus::data
