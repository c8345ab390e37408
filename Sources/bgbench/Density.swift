//===-- Density.swift - W4: each measurement in a process of its own --------------------------===//
// Resident memory says something only where nothing else has run, so the suite starts this very
// program again with the hidden command `density`, which prints five numbers on one line.

import BenchControls
import Foundation

/// One kind of shattered space.
struct DensityCase {
    let name: String
    let extents: UInt64
    /// Sectors from one extent to the next.
    let spacing: UInt64
    let isShuffled: Bool
    let isAllFree: Bool
    /// Ranges in a call; 0: a call each.
    var batch: UInt64 = 0

    static func all(quick: Bool) -> [DensityCase] {
        let dense: UInt64 = quick ? 600_000 : 10_000_000
        let sparse: UInt64 = quick ? 120_000 : 2_000_000
        func shattered(_ name: String, _ count: UInt64, _ spacing: UInt64, _ shuffled: Bool)
            -> DensityCase
        {
            DensityCase(
                name: name,
                extents: count,
                spacing: spacing,
                isShuffled: shuffled,
                isAllFree: false
            )
        }
        /// All in one call of those that have it.
        func batches(_ name: String, _ count: UInt64, _ spacing: UInt64, _ shuffled: Bool)
            -> DensityCase
        {
            var one = shattered(name, count, spacing, shuffled)
            one.batch = count
            return one
        }
        return [
            shattered("W4-dense-ordered", dense, 26, false),
            shattered("W4-dense-shuffled", dense, 26, true),
            batches("W4-dense-ordered-many", dense, 26, false),
            batches("W4-dense-shuffled-many", dense, 26, true),
            shattered("W4-sparse-ordered", sparse, 130, false),
            shattered("W4-sparse-shuffled", sparse, 130, true),
            DensityCase(
                name: "W4-whole-groups",
                extents: 0,
                spacing: 1,
                isShuffled: false,
                isAllFree: true
            ),
            DensityCase(
                name: "W4-empty-groups",
                extents: 0,
                spacing: 1,
                isShuffled: false,
                isAllFree: false
            ),
        ]
    }
}

extension Suite {
    /// With `isBrief`, controls made of one heap node per extent are not shuffled: ten million of
    /// them take minutes. `bgbench w4` runs them.
    mutating func runDensity(isBrief: Bool = false) {
        let bytes: UInt64 = settings.isQuick ? 64 << 30 : 1 << 40
        for kind in DensityCase.all(quick: settings.isQuick) {
            for competitor in settings.competitors {
                if competitor.hasTreesOfOther && !settings.areNamed { continue }
                if competitor.isNull && kind.extents == 0 { continue }
                // The checks wrap calls of one range.
                if kind.batch > 0 && (!competitor.addsMany || settings.isVerifying) { continue }
                if isBrief && kind.isShuffled && competitor.isNodePerExtent {
                    progress.say("\(kind.name): \(competitor.name) runs in bgbench w4 only")
                    continue
                }
                progress.say("\(kind.name): \(competitor.name)")
                guard let density = measureInChild(competitor, kind, bytes: bytes) else {
                    addFault("\(kind.name), \(competitor.name): the process failed")
                    continue
                }
                add(densityResult(competitor, kind, density))
                let expected = kind.isAllFree ? nil : kind.extents
                if let expected, !competitor.isNull, density.free_extents != expected {
                    addFault(
                        "\(kind.name), \(competitor.name): \(density.free_extents) extents "
                            + "where \(expected) were added"
                    )
                }
            }
        }
    }

    private func densityResult(
        _ competitor: Competitor,
        _ kind: DensityCase,
        _ density: bench_density
    ) -> BenchmarkResult {
        var result = BenchmarkResult(kind.name, competitor.name)
        result.operations = Int(density.extents)
        if density.extents > 0 {
            result.nsPerExtent = Double(density.nanoseconds) / Double(density.extents)
            guard !competitor.isNull else { return result }
            result.bytesPerExtent = Double(density.resident_bytes) / Double(density.extents)
            result.freeExtents = density.free_extents
        } else {
            result.bytesPerGroup = Double(density.resident_bytes) / Double(density.groups)
        }
        return result
    }

    private func measureInChild(_ competitor: Competitor, _ kind: DensityCase, bytes: UInt64)
        -> bench_density?
    {
        let process = Process()
        let output = Pipe()
        process.executableURL = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
        var arguments = [
            "density", competitor.name, "--bytes", "\(bytes)", "--extents", "\(kind.extents)",
            "--spacing", "\(kind.spacing)", "--seed", "\(settings.seed)",
        ]
        if kind.isShuffled { arguments.append("--shuffled") }
        if kind.isAllFree { arguments.append("--all-free") }
        if kind.batch > 0 { arguments += ["--batch", "\(kind.batch)"] }
        if settings.isVerifying { arguments.append("--verify") }
        if let library = settings.library { arguments += ["--library", library] }
        process.arguments = arguments
        process.standardOutput = output
        do { try process.run() } catch { return nil }
        let data = output.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else { return nil }
        return parseDensity(String(decoding: data, as: UTF8.self))
    }
}

/// The line that the hidden command prints.
func densityLine(_ density: bench_density) -> String {
    "\(density.extents) \(density.nanoseconds) \(density.resident_bytes) "
        + "\(density.free_extents) \(density.groups)"
}

func parseDensity(_ line: String) -> bench_density? {
    let fields = line.split(whereSeparator: { $0 == " " || $0 == "\n" }).compactMap { UInt64($0) }
    guard fields.count == 5 else { return nil }
    return bench_density(
        extents: fields[0],
        nanoseconds: fields[1],
        resident_bytes: fields[2],
        free_extents: fields[3],
        groups: fields[4]
    )
}
