//===-- FreeRunMerger.swift - sorted free ranges into maximal runs ------------------------------===//
// Takes the free ranges of one block group in address order, cuts out the ranges that must not be
// allocated (super block copies), joins what touches, and hands on the maximal runs.
//
// Invariants:
//   1. Runs handed on ascend and neither overlap nor touch.
//   2. No run holds a byte of an excluded range.
//===-------------------------------------------------------------------------------------------===//

import BGDevices
import BGDiskFormat

struct FreeRunMerger {
    /// Sorted, disjoint.
    private let excluded: [LogicalRange]
    private var nextExcluded = 0
    private var run: LogicalRange?

    init(excluded: [LogicalRange]) {
        self.excluded = excluded
    }

    /// Adds a free range, which must not begin before the end of the one before.
    mutating func add(
        _ logical: UInt64,
        _ length: UInt64,
        _ visit: (UInt64, UInt64) throws(FilesystemError) -> Void
    ) throws(FilesystemError) {
        var start = logical
        let end = logical + length
        while nextExcluded < excluded.count, excluded[nextExcluded].logical < end {
            let hole = excluded[nextExcluded]
            if hole.logical > start {
                try append(start, hole.logical, visit)
            }
            start = max(start, min(hole.end, end))
            // A hole that reaches past this range may cut the next one too.
            guard hole.end <= end else { break }
            nextExcluded += 1
        }
        if start < end {
            try append(start, end, visit)
        }
    }

    /// Hands on the last run.
    mutating func finish(
        _ visit: (UInt64, UInt64) throws(FilesystemError) -> Void
    ) throws(FilesystemError) {
        if let run {
            try visit(run.logical, run.length)
        }
        run = nil
    }

    private mutating func append(
        _ start: UInt64,
        _ end: UInt64,
        _ visit: (UInt64, UInt64) throws(FilesystemError) -> Void
    ) throws(FilesystemError) {
        if let last = run, last.end == start {
            run = LogicalRange(logical: last.logical, length: end - last.logical)
            return
        }
        try finish(visit)
        run = LogicalRange(logical: start, length: end - start)
    }
}
