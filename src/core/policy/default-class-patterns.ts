/**
 * The built-in class lists, as data: word-prefix patterns (see CommandPattern) by class. `[classes]` of config.toml has
 * the same shape, and what it says wins over anything here.
 *
 * Choices that may surprise. Installing a project's dependencies (`npm ci`, `pip install -r …`) is bound: what it writes is
 * ignored by git, so it would stay on the other node and be missing here. `docker ps` and the like are bound: elsewhere
 * they speak of another machine. Small file changes (`mkdir`, `rm`, `cp`) are light, so that they stay here; grep, rg and
 * find are light, archives and media heavy. Running one's own program (`node x.js`, `cargo run`) is other. `make install`
 * and `make deploy` are bound, by their words; every other make target is heavy.
 */

/** `a, b c, d` as a list. */
const list = (text: string): string[] => text.split(/[,\n]/).flatMap((part) => part.trim() || []);

/** The patterns `tool word` of one tool. */
const of = (tool: string, text: string): string[] => list(text).map((word) => `${tool} ${word}`);

const bound = [
  // version control: everything that is not known to read only
  ...list('git, hg, svn, jj, gh, glab, hub, git-lfs, lazygit, tig, pre-commit install, pre-commit uninstall'),
  ...list('lefthook install, husky, husky install'),
  // containers, clusters, clouds
  ...list(`docker, docker-compose, podman, podman-compose, nerdctl, buildah, skopeo, lima, limactl, colima, lxc, incus
    kubectl, k, helm, helmfile, kustomize, k9s, kind, k3d, minikube, skaffold, tilt, oc, argocd, flux, eksctl, kubectx
    terraform, tofu, terragrunt, pulumi, packer, vagrant, ansible, ansible-playbook, nomad, consul, vault, chef, puppet
    aws, gcloud, gsutil, az, doctl, heroku, fly, flyctl, vercel, netlify, wrangler, firebase, railway, render, sam, cdk
    serverless, sls, eas, fastlane, supabase, surge, gh-pages, amplify, copilot, eb, ngrok, cloudflared, tailscale`),
  // other machines and accounts
  ...list(`ssh, scp, sftp, mosh, ssh-add, ssh-keygen, ssh-copy-id, telnet, nc, ncat, socat, ftp, lftp, rclone
    sudo, doas, su, pkexec, runuser, chroot, gpg, pass, security, keychain, op, passwd, meshwork, mw`),
  // this machine itself
  ...list(`systemctl, service, launchctl, journalctl, dmesg, loginctl, initctl, rc-service, crontab, at, batch, atrm
    kill, pkill, killall, renice, reboot, shutdown, halt, poweroff, mount, umount, losetup, mkfs, fdisk, parted, swapon
    iptables, nft, ufw, firewall-cmd, ip, ifconfig, route, nmcli, networksetup, sysctl, modprobe, insmod, rmmod
    useradd, userdel, usermod, groupadd, adduser, deluser, chsh, visudo, update-alternatives, ldconfig, hostnamectl
    timedatectl, localectl, defaults, scutil, pmset, diskutil, hdiutil, tmutil, xcode-select, softwareupdate
    open, xdg-open, pbcopy, pbpaste, xclip, xsel, wl-copy, wl-paste, osascript, notify-send, say, screencapture
    code, cursor, subl, idea, vim, vi, nvim, nano, emacs, emacsclient, micro, tmux, screen, zellij, byobu, script
    claude, codex, gemini, aider, adb, fastboot, xcrun simctl, simctl, lsusb`),
  // packages into the system, tool chains, a project's dependencies
  ...list(`apt, apt-get, aptitude, dpkg, dpkg-reconfigure, add-apt-repository, dnf, yum, rpm, zypper, pacman, yay, paru
    apk, emerge, brew, port, mas, snap, flatpak, nix-env, nix profile, nixos-rebuild, home-manager, choco, winget, scoop
    installer, pkg, pipx, conda, mamba, micromamba, rustup, nvm, fnm, n, volta, asdf, mise, rtx, sdk, pyenv, rbenv
    nodenv, goenv, jenv, tfenv, ghcup, opam, cpan, cpanm, luarocks, gem, easy_install, corepack, virtualenv
    pip, pip install, pip uninstall, pip-sync, ensurepip, venv, python -m venv, pod, carthage, bower`),
  ...of('uv', 'sync, add, remove, pip, venv, tool, publish, python, self'),
  ...of('poetry', 'install, add, remove, update, publish, self, lock, config'),
  ...of('pdm', 'install, add, remove, sync, update, publish'),
  ...list('pipenv install, pipenv uninstall, pipenv sync, hatch publish, hatch env, rye sync, rye publish, rye add'),
  ...of('bundle', 'install, update, add, remove, config'),
  'bundle $',
  ...of('composer', 'install, update, require, remove, global, create-project'),
  ...of(
    'npm',
    'install, i, in, ins, isntall, add, ci, clean-install, ic, install-test, it, cit, uninstall, un, remove',
  ),
  ...of('npm', 'rm, r, unlink, update, up, upgrade, link, ln, dedupe, ddp, prune, rebuild, rb, init, create, innit'),
  ...of('npm', 'publish, unpublish, deprecate, dist-tag, login, logout, adduser, owner, token, version, config set'),
  ...of('npm', 'access, org, team, profile, hook, star, unstar, shrinkwrap, cache, pkg set, audit fix, set'),
  'yarn $',
  ...of('yarn', 'install, add, remove, up, upgrade, upgrade-interactive, link, unlink, global, publish, login, logout'),
  ...of(
    'yarn',
    'npm publish, npm login, set, plugin, dedupe, rebuild, version, import, init, create, cache, config set',
  ),
  ...of('pnpm', 'install, i, add, remove, rm, uninstall, un, update, up, upgrade, link, ln, unlink, publish, import'),
  ...of('pnpm', 'rebuild, rb, prune, dedupe, fetch, deploy, env, store, setup, login, init, create, patch, config set'),
  ...of('bun', 'install, i, add, a, remove, rm, update, upgrade, link, unlink, publish, init, create, pm, patch'),
  ...of('deno', 'install, i, add, remove, uninstall, publish, deploy, upgrade, serve, task dev, jupyter'),
  ...of('cargo', 'install, uninstall, binstall, publish, yank, owner, login, logout, release, watch, install-update'),
  ...list('go install, go env -w, go telemetry'),
  ...of(
    'dotnet',
    'ef, watch, publish -p:PublishProfile, nuget push, nuget delete, tool, workload, dev-certs, user-secrets',
  ),
  ...list(
    'make install, make uninstall, make deploy, make undeploy, make publish, make release, make upload, make push',
  ),
  ...list('make dev, make serve, make server, make start, make stop, make watch, make up, make down, make flash'),
  ...list('ninja install, ninja uninstall, cmake --install, meson install, setup.py, stow, update-initramfs'),
  ...of('python setup.py', 'install, develop, upload'),
  ...of('mvn', 'deploy, release:prepare, release:perform, spring-boot:run, jetty:run, quarkus:dev, tomcat7:run'),
  ...of('mvnw', 'deploy, release:prepare, release:perform, spring-boot:run, jetty:run, quarkus:dev'),
  ...of('gradle', 'publish, publishToMavenLocal, bootRun, appRun, quarkusDev, runServer, --continuous, -t'),
  ...of('gradlew', 'publish, publishToMavenLocal, bootRun, appRun, quarkusDev, runServer, --continuous, -t, --stop'),
  ...of('gradlew', 'installDebug, connectedAndroidTest, connectedCheck, connectedDebugAndroidTest'),
  ...list(
    'gradle --stop, gradle installDebug, gradle connectedAndroidTest, gradle connectedCheck, sbt publish, sbt run',
  ),
  // publish and deploy
  ...list(`twine upload, poetry publish, flit publish, gem push, goreleaser, vsce publish, ovsx publish, changeset publish
    changeset version, semantic-release, release-it, np, lerna publish, lerna version, nx release, standard-version
    mix hex.publish, cap, capistrano, mina, deploy.sh, publish.sh, release.sh, install.sh, deploy, jreleaser
    hugo deploy, mkdocs gh-deploy, ng deploy, truffle migrate, forge create, anchor deploy, ko, dagger`),
  // servers and watchers
  ...list(`vite, vite dev, vite serve, vite preview, vite optimize, vite build --watch, vite build -w, vitepress dev
    vitepress serve, next, next dev, next start, nuxt dev, nuxt start, nuxt preview, nuxi dev, astro dev, astro preview
    remix dev, remix vite:dev, remix-serve, react-router dev, react-router-serve, gatsby develop, gatsby serve, ng serve
    ng s, ng build --watch, ng test, svelte-kit dev, solid-start dev, qwik dev, expo, react-native, docusaurus start
    docusaurus serve, vue-cli-service serve, react-scripts start, react-scripts test, craco start, eleventy --serve
    eleventy --watch, webpack serve, webpack --watch, webpack -w, webpack watch, webpack-dev-server, rspack serve
    rspack dev, rsbuild dev, rollup -w, rollup --watch, esbuild --watch, esbuild --serve, esbuild --servedir, swc --watch
    swc -w, babel --watch, babel -w, parcel, parcel serve, parcel watch, snowpack dev, tsup --watch, tsdown --watch
    nodemon, ts-node-dev, tsnd, pm2, forever, supervisor, concurrently --restart-tries, tsx watch, tsx --watch
    node --watch, node --inspect-brk, bun --watch, bun --hot, deno --watch, deno run --watch, tsc -w, tsc --watch
    tsc -watch, vue-tsc --watch, svelte-check --watch, jest --watch, jest --watchAll, vitest --watch, vitest -w
    vitest watch, vitest dev, vitest --ui, mocha --watch, mocha -w, ava --watch, ava -w, karma start, cypress open
    playwright test --ui, playwright show-report, playwright codegen, playwright install, storybook, storybook dev
    start-storybook, sb dev, eslint_d, prettierd, stylelint --watch, sass --watch, tailwindcss --watch, tailwindcss -w
    postcss --watch, postcss -w, http-server, serve, live-server, browser-sync, json-server, msw, mockoon-cli, prism mock
    wrangler dev, netlify dev, vercel dev, partykit, turbo dev, turbo watch, turbo login, nx serve, nx watch, nx dev
    nx run-many --target=serve, flask, flask run, uvicorn, gunicorn, hypercorn, daphne, waitress-serve, fastapi, celery
    http.server, jupyter, jupyter-lab, jupyter-notebook, ipython, streamlit, gradio, panel serve, bokeh serve, mlflow ui
    tensorboard, dagster dev, airflow, prefect server, mkdocs serve, sphinx-autobuild, ptw, pytest-watch, pytest -f
    pytest --looponfail, watchmedo, django-admin runserver, hugo server, hugo serve, jekyll serve, jekyll s, rails, puma
    unicorn, thin, rackup, guard, foreman, overmind, hivemind, honcho, goreman, sidekiq, spring, php -S, php artisan serve
    symfony, mix phx.server, mix test.watch, iex, air, reflex, gin, watchexec, entr, fswatch, inotifywait, watchman, watch
    chokidar, bacon, trunk serve, dx serve, leptos watch, caddy, nginx, httpd, apache2, apachectl, haproxy, traefik
    redis-server, redis-cli, postgres, pg_ctl, initdb, createdb, dropdb, pg_dump, pg_restore, psql, mysqld, mysql
    mysqldump, mysqladmin, mongod, mongosh, mongo, mongodump, cqlsh, clickhouse, rabbitmqctl, kafka-topics, etcdctl
    memcached, minio, mc, localstack, prisma migrate, prisma db, prisma studio, drizzle-kit push, drizzle-kit studio
    knex migrate:latest, sequelize db:migrate, typeorm migration:run, alembic upgrade, alembic downgrade, flyway
    liquibase, dbmate, goose, sqlx database, sqlx migrate, diesel, rake db:migrate, rake db:create, rake db:drop
    rake db:seed, rake db:setup, rake db:reset, tail -f, tail -F, tail --follow, tail -fn, less +F, wasm-pack publish
    electron, tauri dev, flutter run, flutter attach, swift package-registry publish, just dev, just serve, just deploy
    just watch, just publish, just release, just install, just start, task dev, task serve, task deploy, task watch
    rake install, rake release, rake deploy, ollama, llama-server, vllm`),
  ...of('python manage.py', 'runserver, migrate, createsuperuser, shell, dbshell, flush, loaddata, collectstatic'),
  ...of('manage.py', 'runserver, migrate, createsuperuser, shell, dbshell, flush, loaddata, collectstatic'),
  ...of('rails', 'server, s, console, c, db:migrate, dbconsole'),
  ...of('php artisan', 'migrate, tinker, queue:work, db:seed'),
];

const heavy = [
  // builds
  ...list(`make, ninja, samu, cmake, meson, ctest, cpack, scons, waf, bazel, bazelisk, buck, buck2, pants, please, tup
    xmake, premake, qmake, autoconf, automake, autoreconf, configure, bootstrap, ccmake, b2, bjam, gn, colcon, catkin_make
    mvn, mvnw, gradle, gradlew, ant, sbt, sbtn, mill, lein test, lein compile, lein uberjar, kotlinc, scalac, scala-cli
    xcodebuild, nix build, nix-build, nix flake check, pnpm pack, npm pack, yarn pack, earthly, please build, redo`),
  ...of(
    'cargo',
    'build, b, test, t, check, c, clippy, bench, doc, d, rustc, rustdoc, fix, fmt, nextest, miri, package',
  ),
  ...of(
    'cargo',
    'llvm-cov, tarpaulin, audit, deny, udeps, hack, machete, mutants, expand, bloat, cross, zigbuild, insta',
  ),
  ...of('cargo', 'flamegraph, criterion, make, xtask, fuzz, semver-checks, lipo, ndk, component, geiger, outdated'),
  ...of('go', 'build, test, vet, generate, fmt, fix'),
  ...of('dotnet', 'build, test, publish, pack, restore, msbuild, vstest, format, clean'),
  ...of('swift', 'build, test'),
  ...of('zig', 'build, test, cc, c++, build-exe, build-lib, fmt'),
  ...of('mix', 'test, compile, credo, dialyzer, format, release'),
  ...of('stack', 'build, test, bench, haddock'),
  ...of('cabal', 'build, test, bench, haddock, v2-build, v2-test'),
  ...of('dune', 'build, test, runtest, fmt'),
  ...of('flutter', 'build, test, analyze'),
  ...of('dart', 'compile, test, analyze, format'),
  ...of('rebar3', 'compile, ct, eunit, dialyzer'),
  ...of('deno', 'test, lint, check, compile, bench, fmt, bundle, coverage, doc'),
  ...of('bun', 'test, build'),
  ...of('uv', 'build, lock'),
  ...of('poetry', 'build, check'),
  ...list('hatch build, hatch test, hatch fmt, pdm build, flit build, rye build, rye test, rye lint, python -m build'),
  ...of('python setup.py', 'build, build_ext, bdist_wheel, sdist, test, bdist'),
  ...list('python manage.py test, manage.py test, php artisan test, rails test, rails spec, rails assets:precompile'),
  ...of('rake', 'test, spec, build, compile, assets:precompile, lint, rubocop, check'),
  ...of('just', 'build, test, check, lint, fmt, format, ci, bench, all, compile, typecheck, coverage, clippy'),
  ...of('task', 'build, test, check, lint, fmt, format, ci, bench, all, compile, typecheck, coverage'),
  ...list('mage, wasm-pack build, wasm-pack test, wasm-opt, trunk build, tauri build, electron-builder, dx build'),
  // compilers
  ...list(`gcc, g++, cc, c++, clang, clang++, cpp, ld, lld, gold, mold, as, nasm, yasm, ar, icc, icx, nvcc, hipcc, emcc
    em++, rustc, rustdoc, javac, kotlinc-native, groovyc, swiftc, ghc, ocamlc, ocamlopt, ocamlfind, fpc, gfortran, gnatmake
    dmd, ldc2, nim, crystal build, crystal spec, v, odin build, vala, valac, mcs, csc, fsc, tsc, vue-tsc, tsgo, elm make
    purs, spago build, elixirc, erlc, solc, forge build, forge test, hardhat compile, hardhat test, anchor build, protoc
    buf build, buf generate, buf lint, flatc, thrift, swig, cython, cythonize, nuitka, pyinstaller, mypyc, numba, f2py
    latex, pdflatex, xelatex, lualatex, latexmk, tectonic, typst compile, pandoc, sphinx-build, doxygen, javadoc, typedoc
    jsdoc, mdbook build, mkdocs build, hugo, jekyll build, asciidoctor, quarto render, context, dot`),
  // bundlers
  ...list(`webpack, rollup, esbuild, swc, babel, parcel build, vite build, vite build --ssr, next build, next lint
    next export, nuxt build, nuxt generate, nuxi build, nuxi typecheck, astro build, astro check, remix build
    remix vite:build, react-router build, react-router typegen, gatsby build, ng build, ng lint, ng test --watch=false
    svelte-check, svelte-kit sync, vitepress build, docusaurus build, vue-cli-service build, vue-cli-service lint
    react-scripts build, react-scripts test --watchAll=false, composer test, jupyter nbconvert, craco build, eleventy, tsup, tsdown, unbuild, microbundle, ncc, pkgroll, rspack, rspack build
    rsbuild build, rolldown, storybook build, build-storybook, sass, lessc, postcss, tailwindcss, uglifyjs, terser
    cssnano, svgo, imagemin, workbox, snowpack build, expo export, metro build, wrangler types, api-extractor, ng-packagr`),
  // tests and benchmarks
  ...list(`jest, vitest, vitest run, vitest bench, mocha, ava, tap, tape, jasmine, karma run, cypress run, cypress
    playwright test, wdio, testcafe, nightwatch, c8, nyc, uvu, web-test-runner, wtr, bats, shellspec, shunit2, node --test
    tsx --test, qunit, lost-pixel, pytest, py.test, unittest, nose, nosetests, nose2, tox, nox, coverage, coverage run
    doctest, behave, robot, locust, stestr, trial, asv, hypothesis, mutmut, ward, rspec, minitest, cucumber, phpunit, pest
    paratest, infection, behat, codecept, gotestsum, ginkgo, k6, artillery, autocannon, wrk, ab, hey, hyperfine, newman
    busted, prove, ctest, valgrind, meson test, meson compile, meson setup, ninja test, knip, publint, attw, size-limit
    dependency-cruiser, depcruise, madge, stryker, criterion, perf, benchmark, gcovr, lcov, genhtml, kcov`),
  // linters, formatters, type checkers
  ...list(`eslint, oxlint, oxfmt, biome, biome check, biome ci, biome lint, biome format, prettier, standard, xo, rome
    stylelint, tslint, markdownlint, markdownlint-cli2, cspell, alex, textlint, vale, commitlint, dprint, ruff, mypy, pyright
    basedpyright, pyre, pytype, ty, black, isort, flake8, pylint, pyflakes, pycodestyle, pydocstyle, bandit, vulture, autopep8
    yapf, pyupgrade, autoflake, radon, refurb, pre-commit, pre-commit run, golangci-lint, staticcheck, gofmt, goimports
    gofumpt, revive, gosec, govulncheck, errcheck, rustfmt, clippy-driver, clang-tidy, clang-format, cppcheck, cpplint, iwyu
    scan-build, infer, checkstyle, pmd, spotbugs, ktlint, detekt, google-java-format, scalafmt, scalafix, rubocop, standardrb
    reek, brakeman, sorbet, srb, steep, phpstan, psalm, php-cs-fixer, phpcs, phpcbf, phpmd, rector, pint, swiftlint
    swiftformat, shellcheck, shfmt, hadolint, yamllint, ansible-lint, tflint, checkov, tfsec, trivy, semgrep, codeql, sonar
    sonar-scanner, snyk test, gitleaks, trufflehog, actionlint, sqlfluff, luacheck, stylua, selene, hlint, ormolu, fourmolu
    credo, dialyzer, elm-format, elm-test, buildifier, taplo, lint-staged, lefthook run, cloc, tokei, scc`),
  // several packages at once
  ...list(
    'turbo, turbo run, turbo build, turbo test, turbo lint, nx, nx run, nx run-many, nx affected, nx build, nx test',
  ),
  ...list('nx lint, lerna run, lage, rush build, rush rebuild, rush test, wireit, moon run, moon check, moon ci'),
  // bulk file work
  ...list(`tar, zip, unzip, gzip, gunzip, pigz, unpigz, bzip2, bunzip2, pbzip2, lbzip2, xz, unxz, pixz, zstd, unzstd, lz4
    lzma, brotli, 7z, 7za, 7zz, 7zr, rar, unrar, cpio, mksquashfs, unsquashfs, genisoimage, mkisofs, xorriso, ffmpeg
    HandBrakeCLI, x264, x265, SvtAv1EncApp, sox, lame, flac, opusenc, magick, convert, mogrify, montage, gm, vips, cwebp
    optipng, pngquant, zopflipng, jpegoptim, oxipng, gs, qpdf, inkscape, rsvg-convert, blender, povray, exiftool, tesseract
    rsync, dd, split, shred, fdupes, jdupes, hashdeep, whisper, yt-dlp --postprocessor-args, john, hashcat, openssl speed
    stress, stress-ng, sysbench, parallel, bsdiff, xdelta3, samtools, bwa, blastn, blastp, minimap2, gromacs, gmx`),
];

const light = [
  ...list(`ls, ll, la, dir, cat, bat, tac, head, tail, less, more, nl, wc, echo, printf, pwd, true, false, :, test, [, [[, (( 
    cd, pushd, popd, dirs, export, unset, set, shift, read, readarray, mapfile, exit, return, local, declare, typeset
    readonly, let, alias, unalias, hash, type, ulimit, umask, wait, jobs, fg, bg, disown, trap, getopts, shopt, break
    continue, times, enable, compgen, complete, compopt, bind, logout, suspend, history, caller, fc, getconf, help, builtin
    which, where, whereis, whatis, man, info, tldr, command, env, printenv, locale, date, cal, uptime, uname, arch, hostname
    whoami, id, groups, who, w, users, logname, tty, stty, clear, reset, tput, nproc, lscpu, lsblk, free, df, du, vmstat
    ps, pgrep, pidof, top, htop, lsof, netstat, ss, sw_vers, system_profiler, getent, last, sleep, yes, seq, shuf, factor
    grep, egrep, fgrep, rg, ag, ack, ugrep, find, fd, fdfind, locate, tree, exa, eza, lsd, stat, file, readlink, realpath
    basename, dirname, mktemp, touch, mkdir, rmdir, rm, unlink, mv, cp, ln, install, chmod, chown, chgrp, truncate, sync
    sed, awk, perl -pe, cut, tr, sort, uniq, comm, join, paste, column, fold, fmt, expand, unexpand, rev, tee, sponge, xargs
    diff, diff3, sdiff, cmp, patch, delta, difft, colordiff, jq, yq, xq, gron, fx, dasel, mlr, xmllint, csvcut, csvlook
    md5sum, md5, sha1sum, sha256sum, sha512sum, shasum, cksum, b2sum, b3sum, sum, base64, base32, xxd, hexdump, od, hd
    strings, nm, objdump, readelf, size, ldd, otool, lipo, addr2line, c++filt, iconv, dos2unix, unix2dos, bc, dc, expr
    numfmt, uuidgen, jot, time, nice, ionice, nohup, timeout, stdbuf, setsid, exec, eval, fzf, sk, gum, figlet, cowsay, toe
    dig, nslookup, host, ping, traceroute, ffprobe, identify, mediainfo, zcat, zless, zgrep, bzcat, xzcat, zstdcat, unzip -l
    unzip -Z, zipinfo, tar -t, tar -tf, tar -tvf, tar -tzf, tar -tzvf, tar t, tar tf, tar tvf, tar tzf, tar tzvf, tar --list
    node -v, node --version, npm -v, java -version, go version, rustc -V, cargo -V, python -V, ruby -v, perl -v, php -v`),
  ...of(
    'git',
    'status, log, diff, show, blame, annotate, grep, rev-parse, rev-list, describe, ls-files, ls-tree, cat-file',
  ),
  ...of('git', 'shortlog, reflog, name-rev, merge-base, for-each-ref, show-ref, show-branch, check-ignore, check-attr'),
  ...of('git', 'count-objects, var, version, help, whatchanged, diff-tree, diff-index, diff-files, range-diff, cherry'),
  ...of('git', 'branch $, branch --list, branch -l, branch --show-current, branch --contains, branch --merged'),
  ...of('git', 'branch --no-merged, tag $, tag -l, tag --list, tag --contains, tag --points-at, remote $, remote -v'),
  ...of('git', 'remote get-url, stash list, stash show, config --get, config --get-all, config --list, config -l'),
  ...of(
    'git',
    'config get, config list, worktree list, submodule status, notes show, notes list, symbolic-ref --short',
  ),
  ...of(
    'git',
    '$, --version, verify-commit, verify-tag, column, get-tar-commit-id, bisect log, bisect view, hash-object',
  ),
  ...of('hg', 'status, log, diff, annotate, branch, id, summary'),
  ...of('npm', 'ls, list, ll, la, view, info, show, v, outdated, search, whoami, ping, root, prefix, bin, help, why'),
  ...of(
    'npm',
    'explain, config get, config list, config ls, get, pkg get, query, fund, docs, run $, help-search, diff',
  ),
  ...of('yarn', 'list, info, why, outdated, versions, licenses, config get, config list, bin, help, --version'),
  ...of('pnpm', 'ls, list, ll, why, outdated, root, bin, licenses, config get, config list, help, run $'),
  ...list('bun pm ls, bun pm bin, bun pm cache, bun --version, bun outdated, bun why'),
  ...list('pip list, pip show, pip freeze, pip check, pip config list, pip index, pip debug, pip help, uv pip list'),
  ...list('uv pip show, uv pip freeze, uv tree, uv version, poetry show, poetry env info, poetry version, gem list'),
  ...list('gem which, gem env, bundle list, bundle show, bundle info, bundle outdated, composer show, conda list'),
  ...of('cargo', 'metadata, tree, search, version, locate-project, pkgid, help, info, read-manifest, --list'),
  ...of('go', 'version, env, list, doc, help'),
  ...of('rustup', 'show, which, doc'),
  ...list('dotnet --info, dotnet --list-sdks, dotnet --list-runtimes, swift --version, terraform version, make -n'),
  ...list('make --dry-run, nvm ls, nvm current, pyenv versions, pyenv version, asdf list, asdf current, mise ls'),
  ...list(
    'tsc --version, tsc -v, tsc --showConfig, tsc --init, node --check, eslint --print-config, jest --showConfig',
  ),
];

/** Known, and none of the three: they run programs whose nature cannot be told, or change this project a little. */
const other = [
  ...list(`node, python, ruby, perl, php, lua, luajit, Rscript, R, julia, java, scala, kotlin, groovy, deno, bun, tsx
    ts-node, swift, elixir, erl, ghci, runghc, racket, guile, sbcl, clojure, clj, bb, osascript -e, pwsh, sh, bash, zsh, dash
    ksh, fish, ash, source, ., npm, yarn, pnpm, npx, cargo, cargo run, cargo r, go, go run, go mod, go get, dotnet, dotnet run
    swift run, curl, wget, http, https, xh, aria2c, sqlite3, duckdb, gdb, lldb, uv, poetry, bundle, composer, just, task
    rake, mix, stack, cabal, dune, flutter, dart, zig, uvx, make help, openssl, conda run, mamba run
    micromamba run, mise exec, mise x, asdf exec, pyenv exec, rbenv exec, nodenv exec, rustup run, nvm exec, fnm exec
    volta run, op run, pipx run, corepack pnpm, corepack yarn, corepack npm, prisma, prisma generate, ng, rails`),
];

export const defaultClassPatterns: Readonly<Record<'bound' | 'heavy' | 'other' | 'light', readonly string[]>> = {
  bound,
  heavy,
  other,
  light,
};
