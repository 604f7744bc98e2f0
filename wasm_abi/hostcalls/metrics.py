"""proxy_define_metric, proxy_record_metric, proxy_increment_metric, proxy_get_metric.

Spec: proxy-wasm 0.2.1, "Metrics", with Envoy's rules on which operation a kind allows. The kind stands in
the low two bits of the id, so that an operation on an unknown id is refused as its kind would be.
"""

from typing import TYPE_CHECKING

from wasm_abi.abi import MetricType, Status

if TYPE_CHECKING:
    from wasm_abi.vm import Vm

_KINDS = tuple(MetricType)
_KIND_BITS = 2
_KIND_MASK = (1 << _KIND_BITS) - 1
_SIGN_BIT = 1 << 63


def define_metric(vm: "Vm", kind: int, name: int, name_size: int, id_out: int) -> int:
    if kind >= len(_KINDS):
        return Status.BAD_ARGUMENT
    text = vm.read(name, name_size)
    key = (kind, text)
    number = vm.metric_ids.get(key)
    if number is None:
        number = (sum(each == kind for each, _ in vm.metric_ids) + 1) << _KIND_BITS | kind
        vm.metrics[number] = vm.context.host.define_metric(_KINDS[kind], text)
        vm.metric_ids[key] = number
    vm.write_u32(id_out, number)
    return Status.OK


def record_metric(vm: "Vm", number: int, value: int) -> int:
    """Adds to a counter, sets a gauge, records a sample in a histogram."""
    metric = vm.metrics.get(number)
    if metric is None:
        return Status.NOT_FOUND
    metric.record(value)
    return Status.OK


def increment_metric(vm: "Vm", number: int, offset: int) -> int:
    """A counter only grows; a gauge may go both ways; a histogram cannot be incremented."""
    kind = number & _KIND_MASK
    if kind > MetricType.GAUGE:
        return Status.BAD_ARGUMENT
    metric = vm.metrics.get(number)
    if metric is None:
        return Status.NOT_FOUND
    change = offset - (1 << 64) if offset & _SIGN_BIT else offset
    if kind == MetricType.COUNTER and change <= 0:
        return Status.BAD_ARGUMENT
    metric.add(change)
    return Status.OK


def get_metric(vm: "Vm", number: int, value_out: int) -> int:
    if number & _KIND_MASK > MetricType.GAUGE:
        return Status.BAD_ARGUMENT
    metric = vm.metrics.get(number)
    if metric is None:
        return Status.NOT_FOUND
    vm.write_u64(value_out, metric.value() & 0xFFFFFFFFFFFFFFFF)
    return Status.OK
