"""The stock behavior that benchmarks compare with; it lives beside the fault suite, which compares with it too."""

from understudy.faults.stock_synchronizer import StockSynchronizer

__all__ = ["StockSynchronizer"]
