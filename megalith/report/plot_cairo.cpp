#include <algorithm>
#include <array>
#include <cmath>

#include "megalith/base/error.h"
#include "megalith/report/paper_cairo.h"
#include "megalith/report/plot.h"

namespace megalith {
namespace {

// Told apart by colour-blind readers too: dark blue, orange, green, magenta, sky, brown.
constexpr std::array<Colour, 6> kRunColours = {{{0.10, 0.32, 0.68},
                                                {0.90, 0.45, 0.05},
                                                {0.05, 0.55, 0.40},
                                                {0.75, 0.25, 0.55},
                                                {0.25, 0.65, 0.85},
                                                {0.50, 0.35, 0.20}}};
constexpr Colour kGrid = {0.90, 0.91, 0.92};
constexpr double kTitleSize = 22;
constexpr double kLabelSize = 15;
constexpr int kCurveBuckets = 2000;

struct Box {
  double left, top, right, bottom;
};

/// A rectangle of the paper with an x and a y axis.
struct Panel {
  Box box;
  Axis x;
  Axis y;
  double to_x(double value) const { return box.left + x.position(value) * (box.right - box.left); }
  double to_y(double value) const { return box.bottom - y.position(value) * (box.bottom - box.top); }
};

struct Range {
  double low = INFINITY;
  double high = -INFINITY;
  void include(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
  bool empty() const { return !(low <= high); }
};

Range x_range(const std::vector<PlotRun>& runs) {
  Range range;
  for (const PlotRun& run : runs) {
    for (const Curve* curve : {&run.train, &run.held_out}) {
      if (curve->empty()) continue;
      range.include(curve->front().first);
      range.include(curve->back().first);
    }
  }
  // The origin belongs to a curve that begins near it.
  if (range.low > 0 && range.low < 0.05 * range.high) range.low = 0;
  return range;
}

// Smoothed curves, evaluations and where a run began decide, so that one spike does not flatten the picture.
Range y_range(const std::vector<PlotRun>& runs, const PlotOptions& options) {
  Range range;
  for (const PlotRun& run : runs) {
    for (const auto& [x, y] : smooth(run.train, options.smoothing)) range.include(y);
    for (const auto& [x, y] : run.held_out) range.include(y);
    if (!run.train.empty()) range.include(run.train.front().second);
    if (options.y_scale == AxisScale::kLinear) continue;
    for (const Curve* curve : {&run.train, &run.held_out}) {
      for (const auto& [x, y] : *curve) {
        MG_CHECK(y > 0, "{}: {} is {:g} at {} {:g}; a logarithmic axis takes values > 0", run.label,
                 options.y_label, y, options.x_label, x);
      }
    }
  }
  if (range.empty()) return range;
  if (options.y_scale == AxisScale::kLog) {
    const double margin = std::pow(range.high / range.low, 0.05);
    return {range.low / margin, range.high * margin};
  }
  const double margin = 0.05 * (range.high - range.low);
  const double low = range.low - margin;
  return {range.low >= 0 ? std::max(low, 0.0) : low, range.high + margin};
}

void draw_axes(Paper& paper, const Panel& panel, bool with_x_labels) {
  paper.font(kLabelSize - 1, Weight::kNormal);
  for (size_t i = 0; i < panel.y.ticks.size(); ++i) {
    const double y = std::round(panel.to_y(panel.y.ticks[i])) + 0.5;
    paper.set(kGrid, 1);
    paper.line(panel.box.left, y, panel.box.right, y, 1);
    paper.set(kFaint, 1);
    paper.text(panel.box.left - 10, y + 5, panel.y.labels[i], Align::kRight);
  }
  paper.set(kInk, 0.55);
  paper.line(panel.box.left, panel.box.bottom + 0.5, panel.box.right, panel.box.bottom + 0.5, 1);
  for (size_t i = 0; i < panel.x.ticks.size(); ++i) {
    const double x = std::round(panel.to_x(panel.x.ticks[i])) + 0.5;
    paper.set(kInk, 0.55);
    paper.line(x, panel.box.bottom, x, panel.box.bottom + 5, 1);
    if (!with_x_labels) continue;
    paper.set(kFaint, 1);
    paper.text(x, panel.box.bottom + 23, panel.x.labels[i], Align::kCentre);
  }
}

void trace(Paper& paper, const Panel& panel, const Curve& curve) {
  cairo_new_path(paper.pen());
  for (const auto& [x, y] : thin_out(curve, kCurveBuckets)) {
    cairo_line_to(paper.pen(), panel.to_x(x), panel.to_y(y));
  }
}

void draw_run(Paper& paper, const Panel& panel, const PlotRun& run, const Colour& colour, double smoothing) {
  cairo_t* pen = paper.pen();
  cairo_save(pen);
  cairo_rectangle(pen, panel.box.left, panel.box.top - 4, panel.box.right - panel.box.left + 8,
                  panel.box.bottom - panel.box.top + 4);
  cairo_clip(pen);
  cairo_set_line_width(pen, 1);
  paper.set(colour, 0.22);
  trace(paper, panel, run.train);
  cairo_stroke(pen);
  cairo_set_line_width(pen, 2.4);
  paper.set(colour, 1);
  trace(paper, panel, smooth(run.train, smoothing));
  cairo_stroke(pen);

  const std::array<double, 2> dashes = {2, 5};
  cairo_set_dash(pen, dashes.data(), static_cast<int>(dashes.size()), 0);
  cairo_set_line_width(pen, 1.4);
  trace(paper, panel, run.held_out);
  cairo_stroke(pen);
  cairo_set_dash(pen, nullptr, 0, 0);
  cairo_restore(pen);
  const Curve points = thin_out(run.held_out, 60);
  for (const auto& [x, y] : points) {
    cairo_new_path(pen);
    cairo_arc(pen, panel.to_x(x), panel.to_y(y), 4.6, 0, 2 * M_PI);
    paper.set({1, 1, 1}, 1);
    cairo_fill_preserve(pen);
    paper.set(colour, 1);
    cairo_set_line_width(pen, 2);
    cairo_stroke(pen);
  }
}

struct LegendLine {
  std::string text;
  Colour colour;
  bool is_held_out;
};

void draw_legend(Paper& paper, const Box& box, const std::vector<PlotRun>& runs, double smoothing) {
  std::vector<LegendLine> lines;
  for (size_t i = 0; i < runs.size(); ++i) {
    const Colour& colour = kRunColours[i % kRunColours.size()];
    const PlotRun& run = runs[i];
    if (!run.train.empty()) {
      lines.push_back({fmt::format("{}  train {:.4g}", run.label, smooth(run.train, smoothing).back().second),
                       colour, false});
    }
    if (!run.held_out.empty()) {
      lines.push_back(
          {fmt::format("{}  held-out {:.4g}", run.label, run.held_out.back().second), colour, true});
    }
  }
  constexpr double kRow = 25;
  constexpr double kSample = 30;
  paper.font(kLabelSize, Weight::kNormal);
  double text_width = 0;
  for (const LegendLine& line : lines) text_width = std::max(text_width, paper.text_width(line.text));
  const double width = kSample + text_width + 36;
  const double left = box.right - width;
  const double top = box.top + 4;
  paper.set({1, 1, 1}, 0.88);
  cairo_rectangle(paper.pen(), left, top, width, kRow * static_cast<double>(lines.size()) + 12);
  cairo_fill(paper.pen());
  double y = top + 6 + kRow / 2;
  for (const LegendLine& line : lines) {
    paper.set(line.colour, 1);
    if (line.is_held_out) {
      cairo_new_path(paper.pen());
      cairo_arc(paper.pen(), left + 12 + kSample / 2, y, 4.6, 0, 2 * M_PI);
      cairo_set_line_width(paper.pen(), 2);
      cairo_stroke(paper.pen());
    } else {
      paper.line(left + 12, y, left + 12 + kSample, y, 2.4);
    }
    paper.set(kInk, 1);
    paper.text(left + kSample + 24, y + 5, line.text, Align::kLeft);
    y += kRow;
  }
}

void draw_lr(Paper& paper, const Panel& panel, const std::vector<PlotRun>& runs) {
  draw_axes(paper, panel, true);
  for (size_t i = 0; i < runs.size(); ++i) {
    cairo_set_line_width(paper.pen(), 1.8);
    paper.set(kRunColours[i % kRunColours.size()], 1);
    trace(paper, panel, runs[i].lr);
    cairo_stroke(paper.pen());
  }
  paper.set(kFaint, 1);
  paper.font(kLabelSize - 1, Weight::kNormal);
  paper.text(28, panel.box.top - 10, "learning rate", Align::kLeft);
}

void draw(Paper& paper, const std::vector<PlotRun>& runs, const PlotOptions& options) {
  const Range xs = x_range(runs);
  const Range ys = y_range(runs, options);
  MG_CHECK(!xs.empty() && !ys.empty(), "there is nothing to plot: the runs hold no '{}'", options.y_label);
  Range lrs;
  lrs.include(0);
  for (const PlotRun& run : runs) {
    for (const auto& [x, y] : run.lr) lrs.include(y);
  }
  const bool with_lr = options.show_lr && lrs.high > 0;

  const double width = options.width;
  const double height = options.height;
  const double floor = height - 64;
  const Box main_box{
      .left = 88, .top = 92, .right = width - 36, .bottom = with_lr ? floor - 0.24 * height : floor};
  const Panel main{.box = main_box,
                   .x = make_axis(xs.low, xs.high, AxisScale::kLinear, 8),
                   .y = make_axis(ys.low, ys.high, options.y_scale, 7)};
  paper.set(kInk, 1);
  paper.font(kTitleSize, Weight::kBold);
  paper.text(28, 42, options.title, Align::kLeft);
  paper.set(kFaint, 1);
  paper.font(kLabelSize, Weight::kNormal);
  paper.text(28, 70, options.y_label + (options.y_scale == AxisScale::kLog ? " (log scale)" : ""),
             Align::kLeft);
  draw_axes(paper, main, !with_lr);
  for (size_t i = 0; i < runs.size(); ++i) {
    draw_run(paper, main, runs[i], kRunColours[i % kRunColours.size()], options.smoothing);
  }
  draw_legend(paper, main.box, runs, options.smoothing);
  if (with_lr) {
    const Box lr_box{
        .left = main.box.left, .top = main.box.bottom + 44, .right = main.box.right, .bottom = floor};
    draw_lr(paper, {.box = lr_box, .x = main.x, .y = make_axis(0, lrs.high * 1.1, AxisScale::kLinear, 4)},
            runs);
  }
  paper.set(kFaint, 1);
  paper.font(kLabelSize, Weight::kNormal);
  paper.text(main.box.right, height - 16, options.x_label, Align::kRight);
}

}  // namespace

void write_plot(const std::filesystem::path& path, const std::vector<PlotRun>& runs,
                const PlotOptions& options) {
  write_picture(path, options.width, options.height, [&](Paper& paper) { draw(paper, runs, options); });
}

}  // namespace megalith
