#pragma once
// defines: Linear

#include <string>

#include "megalith/autograd/functions/linear.h"

namespace megalith {

/// y = x W^T (+ b), weight [out, in], bias [out].
class Linear {
 public:
  struct Options {
    std::string name;  ///< prefix of the parameters: NAME.weight, NAME.bias
    int64_t in_features = 0;
    int64_t out_features = 0;
    double init_std = 0.02;
    bool has_bias = false;
  };
  Linear(const Options& options, ParameterStore& store)
      : weight_(&store.add({options.name + ".weight",
                            {options.out_features, options.in_features},
                            Init::normal(options.init_std)})),
        bias_(options.has_bias ? &store.add({options.name + ".bias", {options.out_features}, Init::zeros()})
                               : nullptr) {}

  Var forward(Tape& tape, const Var& x) const { return linear(tape, x, *weight_, bias_); }

 private:
  Parameter* weight_;
  Parameter* bias_;
};

}  // namespace megalith
