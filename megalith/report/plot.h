#pragma once
// defines: PlotRun, PlotOptions, load_plot_run, write_plot

#include <filesystem>
#include <string>
#include <vector>

#include "megalith/report/axis.h"

namespace megalith {

/// The curves of one training run.
struct PlotRun {
  std::string label;
  Curve train;     ///< every step
  Curve held_out;  ///< evaluations
  Curve lr;
};

/// Reads metrics from a JSONL file, or from `metrics.jsonl` in a directory: `metric` of every step,
/// `eval_METRIC`, and lr; `x` is "step" or the name of another metric. Throws Error when the file has no such
/// numbers, naming those it has. The label is the name of the directory, or of the file when it is not
/// metrics.jsonl.
PlotRun load_plot_run(const std::filesystem::path& path, const std::string& metric, const std::string& x);

struct PlotOptions {
  std::string title;
  std::string x_label = "step";
  std::string y_label = "loss";
  AxisScale y_scale = AxisScale::kLinear;
  double smoothing = 0.9;  ///< weight of the past in the strong line, [0, 1)
  bool show_lr = false;    ///< a strip with the learning rate under the picture
  int width = 1200;        ///< pixels of a PNG, points of an SVG
  int height = 720;
};

/// Draws all runs in one picture: per step a light line, smoothed a strong one, evaluations as points. The
/// extension decides: .svg or .png. Throws Error for other extensions, when there is nothing to draw, and
/// when this build has no cairo.
void write_plot(const std::filesystem::path& path, const std::vector<PlotRun>& runs,
                const PlotOptions& options);

}  // namespace megalith
