// PTX text as a list of statements with their places: what the mutation operators work on. Knows nothing of
// the instructions' meaning.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace ptxops::mutants {

struct Statement {
  enum class Kind { instruction, declaration, label, open, close };
  Kind kind;
  size_t begin = 0, end = 0;          // of the text; the terminator is included
  int line = 0, last_line = 0;        // from 1
  std::string guard;                  // "@p", "@!p" or nothing
  std::string opcode;                 // "bar.sync"; of a label its name; of a declaration ".reg"
  std::vector<std::string> operands;  // split at top-level commas; of a declaration the declared names
};

// The statements of the body of the first .entry. Throws std::invalid_argument where there is none, or it
// does not end.
std::vector<Statement> parse_body(std::string_view ptx);

// Names in a piece of PTX: registers, labels, symbols; not numbers.
std::vector<std::string> names_in(std::string_view text);

// A piece of the text and what it becomes. Line breaks of the piece must stay, so that lines keep their
// numbers.
struct Edit {
  size_t begin, end;
  std::string text;
};
// Edits must not overlap; the order does not matter, except that insertions at one place come out in theirs.
std::string apply_edits(std::string_view text, std::vector<Edit> edits);

// As many line breaks as the piece has, and nothing else.
std::string blank(std::string_view piece);
// The piece on one line, without comments.
std::string flatten(std::string_view piece);

}  // namespace ptxops::mutants
