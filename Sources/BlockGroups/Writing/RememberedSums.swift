//===-- RememberedSums.swift - checksums of data that no tree records yet --------------------------===//
// Who places data himself writes it first and has it recorded later. The checksums were there when
// the bytes were; they are kept here until then, so that nothing is read back.
//
// Invariants:
//   1. A sum that is known is that of what the devices hold: every write of data either sets it or
//      makes it unknown, and so does every tree block written where data may lie.
//   2. No more than `pagesMax` pages are kept: what is dropped is unknown, and is read back.
//
// Locks: one mutex, innermost; held for memory work alone.
//===-------------------------------------------------------------------------------------------===//

import BGDevices
import BGDiskFormat
internal import Synchronization

/// Sectors of a page.
private let pageSectors: UInt64 = 256
/// 4 GiB of data in sectors of 4 KiB.
private let pagesMax = 4096

final class RememberedSums: @unchecked Sendable {
    private struct Page {
        var sums: [UInt8]
        /// One bit a sector.
        var known: InlineArray<4, UInt64> = .init(repeating: 0)

        func isKnown(_ sector: Int) -> Bool { known[sector / 64] >> UInt64(sector % 64) & 1 == 1 }

        mutating func set(_ sector: Int, known isKnown: Bool) {
            let bit = UInt64(1) << UInt64(sector % 64)
            if isKnown { known[sector / 64] |= bit } else { known[sector / 64] &= ~bit }
        }

        var isEmpty: Bool { known[0] | known[1] | known[2] | known[3] == 0 }
    }

    let type: ChecksumType
    let sectorSize: UInt64
    private let mutex = Mutex(.sums)
    private var pages: [UInt64: Page] = [:]
    private let repairedCount = Atomic<UInt64>(0)
    private let mismatchCount = Atomic<UInt64>(0)

    init(_ superBlock: SuperBlock) {
        type = superBlock.checksumType
        sectorSize = UInt64(superBlock.sectorSize)
    }

    /// The sums of whole sectors, one behind the other.
    func compute(_ bytes: RawSpan) -> [UInt8] {
        let sector = Int(sectorSize)
        precondition(bytes.byteCount % sector == 0)
        var sums: [UInt8] = []
        sums.reserveCapacity(bytes.byteCount / sector * type.byteCount)
        var offset = 0
        while offset < bytes.byteCount {
            let sum = type.checksum(of: bytes.extracting(offset..<offset + sector))
            for index in 0..<type.byteCount { sums.append(sum.bytes[index]) }
            offset += sector
        }
        return sums
    }

    /// Keeps the sums of whole sectors from `logical` on.
    func remember(logical: UInt64, _ sums: [UInt8]) {
        let width = type.byteCount
        mutex.withLock {
            for index in 0..<sums.count / width {
                let sector = logical / sectorSize + UInt64(index)
                let number = sector / pageSectors
                let within = Int(sector % pageSectors)
                if pages[number] == nil {
                    if pages.count >= pagesMax, let any = pages.first { pages[any.key] = nil }
                    pages[number] = Page(
                        sums: [UInt8](repeating: 0, count: Int(pageSectors) * width)
                    )
                }
                for byte in 0..<width {
                    pages[number]!.sums[within * width + byte] = sums[index * width + byte]
                }
                pages[number]!.set(within, known: true)
            }
        }
    }

    /// Makes unknown the sums of every sector that the range touches.
    func forget(logical: UInt64, length: UInt64) {
        guard length > 0 else { return }
        let first = logical / sectorSize
        let last = (logical + length - 1) / sectorSize
        mutex.withLock {
            if pages.isEmpty { return }
            var number = first / pageSectors
            while number <= last / pageSectors {
                defer { number += 1 }
                guard pages[number] != nil else { continue }
                let start = number * pageSectors
                for sector in max(first, start)...min(last, start + pageSectors - 1) {
                    pages[number]!.set(Int(sector - start), known: false)
                }
                if pages[number]!.isEmpty { pages[number] = nil }
            }
        }
    }

    /// The sum of the sector at `logical`, appended to `sums`; false: it is not known.
    func append(sumAt logical: UInt64, to sums: inout [UInt8]) -> Bool {
        let width = type.byteCount
        let sector = logical / sectorSize
        return mutex.withLock {
            let within = Int(sector % pageSectors)
            guard let page = pages[sector / pageSectors], page.isKnown(within) else { return false }
            sums.append(contentsOf: page.sums[within * width..<(within + 1) * width])
            return true
        }
    }

    // MARK: counters that data shares with tree blocks

    /// Copies that were bad and were written anew.
    var repairedCopies: UInt64 { repairedCount.load(ordering: .relaxed) }
    /// Sectors whose checksum was wrong on a copy.
    var mismatches: UInt64 { mismatchCount.load(ordering: .relaxed) }
    func noteRepair() { repairedCount.wrappingAdd(1, ordering: .relaxed) }
    func noteMismatch() { mismatchCount.wrappingAdd(1, ordering: .relaxed) }
}
