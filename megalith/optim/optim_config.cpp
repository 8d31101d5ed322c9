#include "megalith/optim/optim_config.h"

#include "megalith/base/error.h"

namespace megalith {

void declare_fields(OptimConfig& c, FieldList& f) {
  f.add("lr", c.lr, {.help = "peak learning rate", .above = 0, .main = true, .required = true});
  f.add("min_lr", c.min_lr, {.help = "learning rate at the end of the decay", .min = 0});
  f.add("lr_decay_style", c.lr_decay_style,
        {.help = "shape of the decay",
         .allowed = {"constant", "linear", "cosine", "WSD", "inverse-square-root"}});
  f.add("lr_decay_iters", c.lr_decay_iters, {.help = "iterations of the decay; 0: train_iters", .min = 0});
  f.add("lr_warmup_iters", c.lr_warmup_iters,
        {.help = "iterations of the linear warm-up", .min = 0, .main = true});
  f.add("lr_warmup_fraction", c.lr_warmup_fraction,
        {.help = "warm-up as a share of lr_decay_iters", .min = 0, .max = 1});
  f.add("lr_warmup_init", c.lr_warmup_init,
        {.help = "learning rate at the first step of the warm-up", .min = 0});
  f.add("lr_wsd_decay_style", c.lr_wsd_decay_style,
        {.help = "shape of WSD's last part", .allowed = {"linear", "cosine", "exponential", "minus_sqrt"}});
  f.add("lr_wsd_decay_iters", c.lr_wsd_decay_iters, {.help = "iterations of WSD's last part", .min = 0});
  f.add("weight_decay", c.weight_decay,
        {.help = "decoupled weight decay; not applied to biases and norms", .min = 0});
  f.add("start_weight_decay", c.start_weight_decay, {.help = "weight decay at the first step", .min = 0});
  f.add("end_weight_decay", c.end_weight_decay, {.help = "weight decay at the last step", .min = 0});
  f.add("weight_decay_incr_style", c.weight_decay_incr_style,
        {.help = "how weight decay goes from start to end", .allowed = {"constant", "linear", "cosine"}});
  f.add("adam_beta1", c.adam_beta1, {.help = "decay of the mean gradient", .min = 0, .below = 1});
  f.add("adam_beta2", c.adam_beta2, {.help = "decay of the mean squared gradient", .min = 0, .below = 1});
  f.add("adam_eps", c.adam_eps, {.help = "added to the root of the mean squared gradient", .min = 0});
  f.add("clip_grad", c.clip_grad, {.help = "largest global gradient norm; 0: no clipping", .min = 0});
  f.add("main_grads_dtype", c.main_grads_dtype,
        {.help = "of the gradients that microbatches and ranks add to; bf16, for bf16 models, takes half the "
                 "memory and traffic and rounds after every microbatch",
         .allowed = {"fp32", "bf16"}});
  f.add("optimizer_cpu_offload", c.optimizer_cpu_offload,
        {.help = "master weights and moments live in host memory, where the GPU reads and writes them"});
  f.add("optimizer_offload_fraction", c.optimizer_offload_fraction,
        {.help = "share of the parameters of which optimizer_cpu_offload speaks", .min = 0, .max = 1});
  f.add("loss_scale", c.loss_scale,
        {.help = "the loss is multiplied by it for the backward; 0: dynamic with fp16, else 1", .min = 0});
  f.add("initial_loss_scale", c.initial_loss_scale, {.help = "dynamic loss scale at the start", .above = 0});
  f.add("min_loss_scale", c.min_loss_scale, {.help = "smallest dynamic loss scale", .above = 0});
  f.add("loss_scale_window", c.loss_scale_window,
        {.help = "steps without Inf or NaN in a row after which the dynamic loss scale doubles", .min = 1});
  f.add("hysteresis", c.hysteresis,
        {.help = "steps with Inf or NaN before the dynamic loss scale is halved", .min = 1});
}

void validate(const OptimConfig& c) {
  if (c.min_lr > c.lr) throw UsageError(fmt::format("min_lr {} is above lr {}", c.min_lr, c.lr));
  if (c.min_loss_scale > c.initial_loss_scale)
    throw UsageError(fmt::format("min_loss_scale {} is above initial_loss_scale {}", c.min_loss_scale,
                                 c.initial_loss_scale));
  if (c.lr_warmup_init > c.lr)
    throw UsageError(fmt::format("lr_warmup_init {} is above lr {}", c.lr_warmup_init, c.lr));
  if (c.lr_warmup_iters > 0 && c.lr_warmup_fraction > 0) {
    throw UsageError(fmt::format("lr_warmup_iters {} and lr_warmup_fraction {} exclude each other",
                                 c.lr_warmup_iters, c.lr_warmup_fraction));
  }
  if (c.lr_decay_style == "WSD" && c.lr_wsd_decay_iters == 0) {
    throw UsageError("lr_decay_style WSD needs lr_wsd_decay_iters, the length of its last part");
  }
  if (c.weight_decay_incr_style != "constant" && c.end_weight_decay < c.start_weight_decay) {
    throw UsageError(fmt::format("end_weight_decay {} is below start_weight_decay {}", c.end_weight_decay,
                                 c.start_weight_decay));
  }
}

}  // namespace megalith
