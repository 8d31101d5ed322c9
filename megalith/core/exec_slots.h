#pragma once
// defines: ExecSlots

#include <map>
#include <memory>
#include <typeindex>

namespace megalith {

/// One object of any default-constructible type per Exec: plan caches and library handles that a kernel keeps
/// between calls, made by the first one that asks. Exec owns it (`ExecSlots& slots()`), declared after what
/// the objects may use in their destructors (device, stream, pool).
///
///     PlanCache& plans = exec.slots().get<PlanCache>();
class ExecSlots {
 public:
  ExecSlots() = default;
  ExecSlots(const ExecSlots&) = delete;
  ExecSlots& operator=(const ExecSlots&) = delete;

  template <class T>
  T& get() {
    std::shared_ptr<void>& slot = slots_[std::type_index(typeid(T))];
    if (slot == nullptr) slot = std::make_shared<T>();
    return *static_cast<T*>(slot.get());
  }

 private:
  std::map<std::type_index, std::shared_ptr<void>> slots_;
};

}  // namespace megalith
