#!/usr/bin/env bash
# The steps of schedule/github and schedule/gitlab, in the root of the repository. DIR is the project's folder.
#
#   restore        put the releases into the project's folder, from the branch `deployed`
#   prepare RUN    pack the project; if a model waits for review, with statements for REVIEWERS and the text of a request
#   propose RUN    commit statements and text on the branch signoff/RUN, and push it; more words are options of git push
#   take COMMIT    unpack the project, and add the signed statements that a merge has brought to the sign-off
#   keep           commit the releases to the branch `deployed`
set -euo pipefail
export GIT_AUTHOR_NAME=signoff GIT_AUTHOR_EMAIL=signoff@localhost
export GIT_COMMITTER_NAME=signoff GIT_COMMITTER_EMAIL=signoff@localhost
archive=project.tar.gz

restore() {
	local found
	# It fails if the repository cannot be reached: a run must not take that for a project without a release.
	found=$(git ls-remote --heads origin refs/heads/deployed)
	if [ -n "$found" ]; then
		git fetch --quiet --depth 1 origin refs/heads/deployed
		rm -rf "$DIR/deployed"
		git archive FETCH_HEAD | tar -x -C "$DIR"
	fi
}

# Print each line as Markdown's code, which no sign in it can end.
indented() { sed 's/^/    /'; echo; }

prepare() {
	local reports="$DIR/reports" each said
	rm -f "$reports"/{proposal.md,run_id,statement-*}
	if make -s status DIR="$DIR" | grep -q '^Next  *.* waits for review:'; then
		{
			printf 'The report is an artefact of run %s. What it says:\n\n' "$1"
			make -s summary DIR="$DIR" | indented
			for each in $REVIEWERS; do
				printf '## %s\n\n' "$each"
				if said=$(make -s statement DIR="$DIR" REVIEWER="$each" DECISION=approve OVERRIDE="${OVERRIDE:-}" \
					COMMENT="I have read the report of run $1." 2>&1); then
					indented < "$reports/statement-$each.txt"
				else
					printf 'There is no statement to sign:\n\n'
					grep ' - ERROR - ' <<< "$said" | indented
				fi
			done
		} > proposal.md
		mv proposal.md "$reports/"
		echo "$1" > "$reports/run_id"
	fi
	(cd "$DIR" && tar -czf - $(ls -d data model reports logs deployed 2> /dev/null)) > "$archive"
}

propose() {
	local run=$1
	shift
	git rm -q --ignore-unmatch -- "$DIR"/reports/{proposal.md,run_id,statement-*}
	mkdir -p "$DIR/reports"
	tar -xzf "$archive" -C "$DIR" reports
	if [ ! -f "$DIR/reports/proposal.md" ]; then
		echo "No model waits for review."
		return
	fi
	shopt -s nullglob
	git add --force -- "$DIR"/reports/{proposal.md,run_id} "$DIR"/reports/statement-*
	git commit --quiet -m "A model waits for review (run $run)"
	git push --quiet "$@" origin "HEAD:refs/heads/signoff/$run"
}

take() {
	local each
	tar -xzf "$archive" -C "$DIR" data model reports deployed/project.id
	restore
	if git cat-file commit "$1" | grep -q '^gpgsig -----BEGIN SSH SIGNATURE-----'; then
		make sign-off DIR="$DIR" COMMIT="$1"
		return
	fi
	# The host has merged, not a person with a key: the signatures of the statements count alone.
	git diff --name-only --diff-filter=AM --no-renames "$1^1" "$1" -- "$DIR/reports/*.dsse.sig" | while read -r each; do
		# What was merged, not what was packed.
		git checkout --quiet "$1" -- "${each%.sig}" "$each"
		make sign-off DIR="$DIR" SIGNATURE="${each#"$DIR/"}"
	done
}

keep() {
	local parent tree commit
	export GIT_INDEX_FILE
	GIT_INDEX_FILE=$(mktemp -u)
	git --work-tree="$DIR" add --force -- deployed
	tree=$(git write-tree)
	rm -f "$GIT_INDEX_FILE"
	parent=$(git ls-remote --heads origin refs/heads/deployed | cut -f 1)
	commit=$(git commit-tree ${parent:+-p "$parent"} -m "The releases of $DIR" "$tree")
	# Never by force: nobody else's release is lost.
	git push --quiet origin "$commit:refs/heads/deployed"
}

"$@"
