#include "sorus/data/word_splitter.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "sorus/base/error.h"
#include "sorus/base/text.h"

namespace sorus::data {
namespace {

// White space is spelled out: PCRE2's \s has U+180E, which Unicode and the reference tokenizers do not count.
#define SPACE R"(\x{9}-\x{d} \x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})"
constexpr char kPattern[] = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}++| ?\p{N}++| ?[^)" SPACE R"(\p{L}\p{N}]++|[)" SPACE
                            R"(]+(?![^)" SPACE R"(])|[)" SPACE R"(]+)";
#undef SPACE

pcre2_code* pattern() {
  static pcre2_code* code = [] {
    int error = 0;
    PCRE2_SIZE where = 0;
    auto* compiled = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(kPattern), PCRE2_ZERO_TERMINATED,
                                   PCRE2_UTF | PCRE2_UCP, &error, &where, nullptr);
    SORUS_ASSERT(compiled);
    pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE);  // without JIT the matcher interprets
    return compiled;
  }();
  return code;
}

}  // namespace

struct WordSplitter::Match {
  pcre2_match_data* data = pcre2_match_data_create(1, nullptr);
  ~Match() { pcre2_match_data_free(data); }
};

WordSplitter::WordSplitter(std::string_view text)
    : match_(std::make_unique<Match>()), text_(text), valid_end_(valid_utf8_prefix(text)) {}
WordSplitter::~WordSplitter() = default;

bool WordSplitter::next(std::string_view& word) {
  if (at_ == text_.size()) return false;
  if (at_ == valid_end_) {
    word = text_.substr(at_++, 1);
    valid_end_ = at_ + valid_utf8_prefix(text_.substr(at_));
    return true;
  }
  int found = pcre2_match(pattern(), reinterpret_cast<PCRE2_SPTR>(text_.data()), valid_end_, at_,
                          PCRE2_NO_UTF_CHECK | PCRE2_ANCHORED, match_->data, nullptr);
  SORUS_CHECK(found > 0, Error, "splitting text into words failed at byte {} (PCRE2 error {})", at_, found);
  size_t end = pcre2_get_ovector_pointer(match_->data)[1];
  word = text_.substr(at_, end - at_);
  at_ = end;
  return true;
}

size_t WordSplitter::safe_cut(std::string_view text, size_t from) {
  // Between a sign and a space: no word goes on there, and none looks further ahead.
  for (size_t i = std::max<size_t>(from, 1); i < text.size(); ++i) {
    if ((text[i] == ' ' || text[i] == '\n') && text[i - 1] > 0x20 && text[i - 1] < 0x7F) return i;
  }
  return text.size();
}

}  // namespace sorus::data
