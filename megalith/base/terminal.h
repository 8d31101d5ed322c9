#pragma once
// defines: stderr_is_terminal, stderr_has_colour, terminal_width

namespace megalith {

bool stderr_is_terminal();
/// A terminal, and NO_COLOR is unset or empty (https://no-color.org).
bool stderr_has_colour();
/// Columns of the terminal behind stderr, 80 where it does not say.
int terminal_width();

}  // namespace megalith
