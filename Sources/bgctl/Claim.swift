//===-- Claim.swift - bgctl claim: what if many threads claimed from this image -------------------===//
// In memory only: the image is never written. The figures come with the verdict, and the verdict is
// the exit status: 1 if two claims ever overlapped, or if none was served.

import ArgumentParser
import BlockGroups

struct Claim: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Claims from many threads at once, in memory, and checks every claim.",
        discussion: """
            Each thread claims extents of random length, short ones as likely as long ones on a \
            logarithmic scale, and after each gives back one of its earlier claims, or not, by \
            the chance of --give-back. A thread that is refused gives back that share of all it \
            holds. Nothing is written to the image.

            Every claim is checked, as it is made, against a map of owners that knows nothing of \
            the allocator, and the claims held at the end are compared once more with each other \
            and with what was free; then all is given back, and free space must be what it was. \
            The rate includes the checking. The exit status is 1 if any of this fails, and if no \
            claim could be served.
            """
    )

    enum Kind: String, ExpressibleByArgument, CaseIterable {
        case data, metadata, system
    }

    enum ProfileName: String, ExpressibleByArgument, CaseIterable {
        case single, dup, raid0, raid1, raid1c3, raid1c4, raid10, raid5, raid6
    }

    @Option(help: "Threads that claim at once, 1 to 1024.")
    var threads = 4

    @Option(help: "Claims to try, all threads together.")
    var count = 100_000

    @Option(
        help: ArgumentHelp(
            "Lengths: a range or one size, rounded up to sectors. (default: 4K-1M)",
            valueName: "4K-1M"
        ),
        transform: SizeRange.parse
    )
    var sizes = SizeRange(least: 4096, most: 1 << 20)

    @Option(help: ArgumentHelp("Type of block groups to claim from.", valueName: "type"))
    var type: Kind = .data

    @Option(help: ArgumentHelp("Only from groups of this profile.", valueName: "profile"))
    var profile: ProfileName?

    @Option(
        help: ArgumentHelp(
            "Chance of giving back an earlier claim after each, 0 to 100.",
            valueName: "percent"
        )
    )
    var giveBack = 50

    @Option(
        help: ArgumentHelp(
            "Begin to look at this address, or, with 'last', where the thread's last claim ended.",
            valueName: "address|last"
        ),
        transform: Claim.parseHint
    )
    var hint: ClaimPlan.Hint = .none

    @Option(
        help: ArgumentHelp("Addresses are multiples of this.", valueName: "size"),
        transform: parseSize
    )
    var align: UInt64 = 0

    @Option(
        help: ArgumentHelp(
            "Take less than asked for, but at least this, rather than be refused.",
            valueName: "size"
        ),
        transform: parseSize
    )
    var min: UInt64 = 0

    @Option(help: "Seed of what is asked for and given back; drawn and printed if not given.")
    var seed: UInt64?

    @OptionGroup var source: SourceOptions
    @OptionGroup var options: ImageOptions

    static func parseHint(_ text: String) throws -> ClaimPlan.Hint {
        text == "last" ? .last : .address(try parseSize(text))
    }

    func validate() throws {
        guard 1...1024 ~= threads else { throw ValidationError("--threads is 1 to 1024") }
        guard 1...1_000_000_000 ~= count else { throw ValidationError("--count is 1 to 10^9") }
        guard 0...100 ~= giveBack else { throw ValidationError("--give-back is 0 to 100") }
    }

    func run() throws {
        let image = try Image(options, source: source.source)
        let plan = try plan(for: image)
        image.learn { serves($0, plan.flags) }
        try image.requireAll()
        guard !image.groups.isEmpty else {
            throw Failure("\(options.images[0]): there is no block group of \(wantedWords)")
        }
        let outcome = try ClaimRun(plan, image.filesystem.allocator, image.groups).run()
        let report = ClaimReport(plan: plan, wanted: wantedWords, image: image, outcome: outcome)
        if options.json { try report.writeJSON() } else { try report.writeText() }
        if let fault = outcome.fault { throw Failure("\(fault) (seed \(plan.seed))") }
        if outcome.tally.claims == 0 { throw Failure("no claim could be served") }
    }

    private var wantedWords: String {
        type.rawValue + (profile.map { ", \($0.rawValue)" } ?? "")
    }

    private func plan(for image: Image) throws -> ClaimPlan {
        let sectorSize = image.filesystem.allocator.sectorSize
        var plan = ClaimPlan()
        plan.threads = threads
        plan.count = count
        plan.sizes = sizes
        plan.giveBackPercent = giveBack
        plan.hint = hint
        plan.seed = seed ?? UInt64.random(in: 0..<1 << 32)
        plan.flags = flags
        plan.alignment = align
        plan.lengthMin = (Swift.min(min, 1 << 62) + sectorSize - 1) & ~(sectorSize - 1)
        guard sizes.most <= (1 << 31 - 1) * sectorSize - sectorSize else {
            throw Failure("--sizes ends above what one claim can be")
        }
        guard align % sectorSize == 0 else {
            throw Failure("--align must be a multiple of the sector size, \(sizeText(sectorSize))")
        }
        if case .address(let logical) = hint, logical % sectorSize != 0 {
            throw Failure("--hint must be a multiple of the sector size, \(sizeText(sectorSize))")
        }
        return plan
    }

    private var flags: BlockGroupFlags {
        var flags: BlockGroupFlags =
            switch type {
            case .data: .data
            case .metadata: .metadata
            case .system: .system
            }
        switch profile {
        case nil: break
        case .single: flags.insert(.availSingle)
        case .dup: flags.insert(.dup)
        case .raid0: flags.insert(.raid0)
        case .raid1: flags.insert(.raid1)
        case .raid1c3: flags.insert(.raid1c3)
        case .raid1c4: flags.insert(.raid1c4)
        case .raid10: flags.insert(.raid10)
        case .raid5: flags.insert(.raid5)
        case .raid6: flags.insert(.raid6)
        }
        return flags
    }

    /// Whether a claim of `wanted` may take from a group: of mixed groups, data and metadata may.
    private func serves(_ group: BlockGroupFlags, _ wanted: BlockGroupFlags) -> Bool {
        if wanted.contains(.availSingle), !group.isDisjoint(with: .profiles) { return false }
        return group.isSuperset(of: wanted.subtracting(.availSingle))
    }
}
