#include <algorithm>
#include <array>
#include <cmath>

#include "megalith/base/error.h"
#include "megalith/report/paper_cairo.h"
#include "megalith/report/timeline_plot.h"

namespace megalith {
namespace {

// Blue, green, orange, violet: apart in lightness too.
constexpr std::array<Colour, 4> kKindColours = {
    {{0.20, 0.42, 0.75}, {0.10, 0.58, 0.45}, {0.93, 0.60, 0.15}, {0.62, 0.35, 0.65}}};
constexpr Colour kLane = {0.955, 0.96, 0.965};
constexpr double kRowHeight = 30;
constexpr double kRowGap = 5;
constexpr double kTop = 104;
constexpr double kMargin = 28;
constexpr double kSmallestLabel = 7;  // points; smaller ones are left out

Colour shaded(const Colour& colour, int shade) {
  const double white = 1 - std::pow(0.62, shade);
  return {colour.r + (1 - colour.r) * white, colour.g + (1 - colour.g) * white,
          colour.b + (1 - colour.b) * white};
}

double brightness(const Colour& colour) {
  return 0.3 * colour.r + 0.59 * colour.g + 0.11 * colour.b;
}

const Colour& colour_of(int kind) {
  return kKindColours[static_cast<size_t>(kind) % kKindColours.size()];
}

bool is_drawn(const TimelinePlot& plot, size_t kind) {
  return std::any_of(plot.rows.begin(), plot.rows.end(), [&](const TimelineRow& row) {
    return std::any_of(row.boxes.begin(), row.boxes.end(),
                       [&](const TimelineBox& box) { return box.kind == static_cast<int>(kind); });
  });
}

void draw_legend(Paper& paper, const TimelinePlot& plot) {
  paper.font(14, Weight::kNormal);
  double x = plot.width - kMargin;
  for (size_t i = plot.kinds.size(); i-- > 0;) {
    if (!is_drawn(plot, i)) continue;
    x -= paper.text_width(plot.kinds[i]);
    paper.set(kInk, 1);
    paper.text(x, 71, plot.kinds[i], Align::kLeft);
    x -= 22;
    paper.set(colour_of(static_cast<int>(i)), 1);
    cairo_rectangle(paper.pen(), x, 59, 14, 14);
    cairo_fill(paper.pen());
    x -= 20;
  }
}

void draw_box(Paper& paper, const TimelineBox& box, double left, double width, double top) {
  const Colour colour = shaded(colour_of(box.kind), box.shade);
  paper.set(colour, 1);
  cairo_rectangle(paper.pen(), left, top, width, kRowHeight);
  cairo_fill_preserve(paper.pen());
  paper.set({1, 1, 1}, 1);
  cairo_set_line_width(paper.pen(), std::min(1.0, 0.1 * width));
  cairo_stroke(paper.pen());
  if (box.label.empty()) return;
  double size = 13;
  paper.font(size, Weight::kNormal);
  const double natural = paper.text_width(box.label);
  if (natural > width - 2) size *= (width - 2) / natural;
  if (size < kSmallestLabel) return;
  paper.font(size, Weight::kNormal);
  paper.set(brightness(colour) > 0.62 ? kInk : Colour{1, 1, 1}, 1);
  paper.text(left + width / 2, top + kRowHeight / 2 + 0.36 * size, box.label, Align::kCentre);
}

void draw(Paper& paper, const TimelinePlot& plot, double duration) {
  paper.set(kInk, 1);
  paper.font(22, Weight::kBold);
  paper.text(kMargin, 42, plot.title, Align::kLeft);
  paper.set(kFaint, 1);
  paper.font(15, Weight::kNormal);
  paper.text(kMargin, 71, plot.subtitle, Align::kLeft);
  draw_legend(paper, plot);

  paper.font(14, Weight::kNormal);
  double label_width = 0;
  double note_width = 0;
  for (const TimelineRow& row : plot.rows) {
    label_width = std::max(label_width, paper.text_width(row.label));
    note_width = std::max(note_width, paper.text_width(row.note));
  }
  const double left = kMargin + label_width + 14;
  const double right = plot.width - kMargin - (note_width > 0 ? note_width + 14 : 0);
  const double scale = (right - left) / duration;
  double top = kTop;
  for (const TimelineRow& row : plot.rows) {
    paper.set(kLane, 1);
    cairo_rectangle(paper.pen(), left, top, right - left, kRowHeight);
    cairo_fill(paper.pen());
    for (const TimelineBox& box : row.boxes)
      draw_box(paper, box, left + box.begin * scale, (box.end - box.begin) * scale, top);
    paper.font(14, Weight::kNormal);
    paper.set(kInk, 1);
    paper.text(left - 14, top + kRowHeight / 2 + 5, row.label, Align::kRight);
    paper.set(kFaint, 1);
    paper.text(right + 14, top + kRowHeight / 2 + 5, row.note, Align::kLeft);
    top += kRowHeight + kRowGap;
  }
}

}  // namespace

void write_timeline(const std::filesystem::path& path, const TimelinePlot& plot) {
  double duration = 0;
  for (const TimelineRow& row : plot.rows)
    for (const TimelineBox& box : row.boxes) duration = std::max(duration, box.end);
  MG_CHECK(duration > 0, "{}: there is nothing to draw on the time line", path.string());
  const double height = kTop + static_cast<double>(plot.rows.size()) * (kRowHeight + kRowGap) + kMargin;
  constexpr double kTallest = 32000;  // what cairo draws
  MG_CHECK(height < kTallest, "{}: {} rows are more than a picture holds", path.string(), plot.rows.size());
  write_picture(path, plot.width, static_cast<int>(height),
                [&](Paper& paper) { draw(paper, plot, duration); });
}

}  // namespace megalith
