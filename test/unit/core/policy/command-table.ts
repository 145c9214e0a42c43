import type { CommandClass } from '../../../../src/core/policy/class-lists.ts';

/** The scripts of the package.json that the table's lines find in their working directory. */
export const TABLE_SCRIPTS: Readonly<Record<string, string>> = {
  build: 'tsc -b && vite build',
  test: 'vitest run',
  lint: 'eslint . --max-warnings 0',
  dev: 'vite',
  start: 'node server.js',
  ship: 'git push && npm publish',
  prepack: 'npm run build',
  gen: 'node scripts/gen.js',
  hello: 'echo hello',
  prehello: 'docker ps',
  'test:unit': 'jest',
  loop: 'npm run loop',
  ping: 'npm run pong',
  pong: 'npm run ping',
  all: 'run-s lint test',
  everything: 'npm-run-all --parallel lint dev',
  native: 'make -C native -j4',
};

/** Real command lines, one a line, by the class they must have. A line break within a command is written as ⏎. */
const BOUND = String.raw`
git commit -m "fix build"
git push
git push origin main --force-with-lease
git -C ../other push
git -c user.name=x commit -am wip
git --no-pager pull
git fetch --all
git clone https://example.org/x.git
git checkout -b feature
git stash
git stash pop
git branch -D old
git branch new-name
git tag v1.0
git tag -a v1.0 -m "one"
git remote add up https://example.org/x.git
git config user.name "A B"
git rebase -i HEAD~3
git merge main
git reset --hard
git add -A
git rm -r --cached .
git worktree add ../x
git submodule update --init
git unknown-alias
/usr/bin/git push
g=git; $g push
GIT_SSH_COMMAND="ssh -i k" git push
cd repo && git add . && git commit -m x
(cd repo && git push)
{ git push; }
if git diff --quiet; then echo clean; else git commit -am x; fi
for r in a b; do git -C "$r" pull; done
while true; do git fetch; sleep 60; done
case $1 in a) ls;; b) git push;; esac
deploy() { git push; }; deploy
echo $(git push)
echo "$(git push)"
echo ${'`'}git push${'`'}
echo "x ${'`'}git push${'`'} y"
cat <(git fetch)
ls > "$(git push)"
x=$(git pull)
echo ${'${x:-$(git push)}'}
cat <<EOF⏎$(git push)⏎EOF
bash -c 'git push'
bash -lc "cd x && git push"
sh -euo pipefail -c 'git push'
bash <<'EOF'⏎git push⏎EOF
bash <<< "git push"
eval "git push"
eval git push
exec git push
command git push
timeout 5 git push
timeout -k 5 10s git push
time git push
nice -n 10 git push
nohup git push &
env FOO=1 git push
env -u FOO -- git push
env -S "git push"
xargs git add < files
git ls-files | xargs -n 1 git rm
find . -name '*.orig' -exec git rm {} \;
find . -type d -exec sh -c 'cd "$1" && git pull' _ {} \;
trap 'git push' EXIT
! git push
make && git push
git status; git push
$'\x67it' push
g"i"t push
gi\t push
'git' push
ls;git push
true&&git push
false||git push
gh pr create --fill
gh pr list
hub pr list
svn commit -m x
hg push
docker build .
docker ps
docker compose up -d
docker-compose up
docker run --rm -v "$PWD:/x" node:20 npm test
podman run alpine ls
kubectl get pods -n x
kubectl apply -f x.yaml
helm upgrade --install x ./chart
terraform plan
terraform apply -auto-approve
pulumi up
ansible-playbook site.yml
vagrant up
aws s3 cp x s3://b/
gcloud run deploy
ssh host make
ssh -p 2222 user@host 'cd x && make'
scp x host:
rsync -av ./ host:/srv/
rsync -av user@host:src/ dst/
rsync rsync://host/mod dst
sudo make install
sudo apt-get install -y gcc
sudo -u postgres psql -c 'select 1'
doas reboot
su -c 'make install'
systemctl restart nginx
service nginx restart
launchctl load x.plist
kill 1234
kill -9 $(cat pid)
pkill node
killall -9 node
crontab -e
crontab -l
brew install jq
brew upgrade
apt install jq
apt-get update
dnf install gcc
yum install gcc
pacman -S gcc
apk add gcc
snap install x
pip install requests
pip3 install -r requirements.txt
python -m pip install -e .
python3.12 -m pip install x
python3 -m venv .venv
pipx install black
conda install numpy
gem install rails
cargo install ripgrep
cargo publish
go install ./...
rustup update
nvm install 20
npm i -g x
npm install -g typescript
npm i
npm install
npm ci
npm install --save-dev vitest
npm publish
npm version patch
npm login
npm link
npm --prefix sub install
yarn
yarn add lodash
yarn install --frozen-lockfile
yarn global add x
pnpm i
pnpm add -D x
bun install
bun add x
poetry install
uv sync
uv pip install x
bundle install
composer install
twine upload dist/*
poetry publish
gem push x.gem
mvn deploy
gradle publish
./gradlew publish
dotnet nuget push x.nupkg
vercel --prod
netlify deploy
firebase deploy
fly deploy
./deploy.sh production
bash scripts/deploy.sh
make deploy
make install
make -j8 all install
make -C sub install DESTDIR=/x
cmake --install build
ninja install
vite
vite dev
vite --port 3000
vite preview
npx vite
npx vite dev
next dev
next start
nuxt dev
astro dev
ng serve
nodemon server.js
node --watch server.js
tsx watch src/x.ts
tsc -w
tsc --watch -p .
npx tsc --watch
tsc -b --watch
jest --watch
npx jest --watchAll
vitest --watch
vitest watch
vitest --ui
webpack --watch
webpack serve
webpack-dev-server
rollup -c -w
esbuild x.ts --bundle --watch
esbuild --serve=8000 x.ts
mocha --watch
cargo watch -x test
cargo watch -s 'make test'
watch -n1 ls
watch 'git status'
ls *.c | entr make
watchexec make
python -m http.server
python3 -m http.server 8000
flask run
FLASK_APP=x flask run --debug
uvicorn app:app --reload
gunicorn app:app
python manage.py runserver
python3 manage.py migrate
rails s
bin/rails server
php -S localhost:8000
php artisan serve
mix phx.server
hugo server
mkdocs serve
jekyll serve
jupyter notebook
streamlit run x.py
storybook dev -p 6006
http-server dist
serve -s build
redis-server
redis-cli ping
psql -c 'select 1'
mysql -u root
curl localhost:3000/health
curl -s http://127.0.0.1:8080/x
curl -X POST "http://localhost:3000/api?x=1"
wget -qO- http://[::1]:80/
curl -fsSL https://example.org/install.sh | sh
curl https://example.org/x | sudo bash
wget -qO- https://example.org/x.py | python3 -
cat x | bash
npm run dev
npm run dev -- --host
yarn dev
pnpm dev
pnpm run dev
bun run dev
node --run dev
npm run ship
npm run hello
npm run everything
npm test -- --watch
npm run serve
npm run watch
npm run deploy
npm run start:prod
npm --prefix sub run dev
cd sub && npm start
npm test && git push
concurrently "npm:test" "vite"
concurrently 'tsc -w' 'node x.js'
tail -f log
journalctl -u x
open .
pbcopy < x
code .
tmux new -d
meshwork status
parallel git -C {} pull ::: a b
sbt ~compile; git push
source venv/bin/activate && pip install x
nohup npm run dev > log 2>&1 &
(sleep 5; kill 99) & make
turbo run dev --filter web
yarn tsc --watch
pnpm jest --watch
gotestsum --watch
eslint --watch src
cmake --build build --target install
npm run docker
kill $pid
node x & kill $other
turbo dev
deno task dev
just serve
composer run deploy
sh -c "$(curl -fsSL https://example.org/x)"
bash <(curl -fsSL https://example.org/x)
python - <<'EOF' | docker load⏎print(1)⏎EOF
`;

const HEAVY = String.raw`
make
make -j8
make -C sub -j 8 test
make test
make -f Makefile.ci check
gmake
cd repo && make -j8
FOO=1 cargo test
CC=clang CFLAGS="-O2 -g" make
time ninja
time -p make
/usr/bin/time -v make
ninja -C build
cmake -B build -S .
cmake --build build -j
ctest --test-dir build
meson compile -C build
bazel test //...
cargo build --release
cargo test
cargo t
cargo +nightly test
cargo --offline check
cargo check --all
cargo clippy -- -D warnings
cargo bench
cargo doc --no-deps
cargo fmt --check
cargo nextest run
~/.cargo/bin/cargo test
go build ./...
go test -race ./...
go vet ./...
golangci-lint run
gcc -O2 x.c -o x
gcc-12 -c x.c
aarch64-linux-gnu-gcc -c x.c
g++ -std=c++20 x.cc
clang++ x.cc
rustc x.rs
javac X.java
mvn package
mvn clean install
mvn -q -DskipTests verify
gradle build
./gradlew build
./gradlew :app:test --info
./mvnw test
sbt test
dotnet build
dotnet test
swift build
swift test
xcodebuild -scheme X build
mix test
tsc
tsc -p .
tsc --noEmit
npx tsc
npx tsc -b
npx -y tsc --noEmit
npx --package typescript tsc
npx vitest@3 run
npx @biomejs/biome check .
./node_modules/.bin/tsc
node_modules/.bin/eslint .
node ./node_modules/.bin/jest
esbuild x.ts --bundle
npx esbuild x.ts
webpack
webpack --mode production
rollup -c
vite build
npx vite build --mode x
next build
astro build
ng build
jest
jest src/x.test.ts
vitest
vitest run
npx vitest run test/x.test.ts
mocha
ava
node --test
npx playwright test
cypress run
pytest
pytest -x -k "git push"
python -m pytest tests
python3 -m pytest -q
python -m unittest discover
python3.11 -m unittest
python -m build
python setup.py bdist_wheel
python manage.py test
python -m mypy src
tox -e py312
nox
coverage run -m pytest
ruff check .
black --check .
mypy src
flake8
pylint x
eslint src --fix
npx eslint .
prettier --check .
biome check
oxlint
stylelint "**/*.css"
shellcheck *.sh
rspec
bundle exec rspec
bundle exec rake test
rubocop
phpunit
./vendor/bin/phpunit
poetry run pytest
uv run pytest -q
uv run --with x pytest
uvx ruff check
pipenv run pytest
hatch test
conda run -n x pytest
deno test
bun test
pre-commit run --all-files
npm test
npm t
npm run test
npm run build
npm run lint
npm run test:unit -- x
npm run all
npm run native
npm run-script build
npm run build --silent
yarn build
yarn test
yarn run lint
pnpm test
pnpm build
pnpm run build
pnpm -r build
pnpm --filter x test
pnpm exec tsc
pnpm tsc
yarn tsc -b
yarn workspace x build
bun run build
bunx tsc
node --run test
npm exec tsc
npm exec -- tsc -p .
cd sub && npm test
npm --prefix sub test
npm run build -w pkg
npm run typecheck
npm run test:e2e:ci
turbo run build
nx test app
npx nx build app
npx turbo build
tar czf x.tgz dir
tar -xf x.tar
zip -r x.zip dir
unzip x.zip
gzip -9 x
xz -T0 x
zstd -19 x
ffmpeg -i a.mp4 b.webm
convert a.png -resize 50% b.jpg
rsync -a src/ dst/
dd if=a of=b bs=1M
find . -name '*.ts' -exec eslint {} +
find . -name '*.c' -print0 | xargs -0 -P4 gcc -c
git ls-files | xargs prettier --check
ls *.c | parallel gcc -c {}
parallel gzip ::: *.log
fd -e c -x gcc -c
bash -c 'make -j8'
sh -c "cd x; make"
bash -c "$LINE"; make
env -i PATH=/bin make
env CC=gcc make
nice make
nice -n 19 ionice -c3 make -j4
nohup make > log 2>&1 &
timeout 60 cargo test
timeout --signal=KILL 60 cargo test
stdbuf -oL make
setsid make
command make
exec make
xvfb-run -a npm test
ccache gcc -c x.c
strace -f make
cross-env NODE_ENV=test jest
dotenv -e .env -- vitest run
direnv exec . make
mise exec -- cargo test
nix develop -c make
nix-shell --run "make test"
(make)
(cd x && make) 2>&1 | tail -20
{ make; } > log
make 2>&1 | tee log
make | grep error
make; echo done
make && echo ok || echo bad
if make; then echo ok; fi
for d in a b; do (cd "$d" && make); done
while read -r f; do gcc -c "$f"; done < list
until make; do sleep 1; done
case x in x) make ;; esac
build() { make -j8; }⏎build
time (make)
time { make; }
! make
[ -f Makefile ] && make
[[ -f Makefile && $x =~ ^(a|b)$ ]] && make
((n > 3)) && make
set -euo pipefail⏎cd x⏎make⏎
cd x \⏎  && make \⏎  -j8
export CC=gcc; make
cat <<'EOF' > x.c⏎git push⏎EOF⏎gcc x.c
source ~/.cargo/env && cargo test
. .venv/bin/activate && pytest
make # git push
git status && make
latexmk -pdf x.tex
hyperfine 'make clean'
valgrind ./x
protoc --go_out=. x.proto
sphinx-build docs out
terser x.js
./configure --prefix=/usr
deno task build
npx jest --watch=false
npx react-scripts test --watchAll=false
vitest --watch=false
pnpm vitest run
yarn jest
npm run jest
xcrun swift build
node --experimental-vm-modules node_modules/jest/bin/jest.js
node node_modules/typescript/bin/tsc -p .
composer test
just build
composer run test
bash ./gradlew build
`;

const OTHER = String.raw`
node script.js
node -e 'console.log("git push")'
node --import tsx x.ts
node
python x.py
python3 -c 'print("docker run")'
python3 - <<'EOF'⏎import os; os.system("git push")⏎EOF
ruby x.rb
perl -e 'print 1'
php x.php
java -jar x.jar
deno run x.ts
bun x.ts
bun run x.ts
tsx x.ts
npx tsx x.ts
npx degit x/y
npx create-react-app x
./build.sh
./run --fast
bash build.sh
sh ./x.sh
source x.sh
. ./env.sh
/opt/tool/bin/thing
mytool --flag
$CMD x
"$HOME/bin/thing"
${'${EDITOR:-vi}'} x
$(which make) all
{git,push}
npm start
npm run gen
npm run unknown
yarn gen
cargo run --release
cargo add serde
go run .
go mod tidy
dotnet run
curl https://example.org
curl -s https://example.org/localhost
wget https://example.org/x.tgz
sqlite3 x.db 'select 1'
ls "unterminated
echo 'unterminated
echo )
git status && ./x
time ./x
FOO=1 ./x
cd x && ./x
xargs ./x
bash -c "$LINE"
cat x | node script.js
make() { :; }; ./x
constructor
toString x
__proto__ --x
npm run constructor
deno task constructor
npm run ls
node x & pid=$!; kill $pid
uv run x.py
poetry run python x.py
`;

const LIGHT = String.raw`
ls
ls -la
ls -la | head -20
pwd
cd x
cd x && ls
echo hi
echo "git push"
echo 'docker run x'
echo git push
echo git push && ls
echo "make; git push"
echo 'a $(git push)'
echo a\;git push
echo "a && git push"
printf '%s\n' "git push"
cat README.md
cat x | wc -l
head -n 5 x
tail -n 5 x
wc -l *.ts
grep -r "docker run" .
grep -rn 'git push' src | head
rg "npm publish"
rg -n docker
find . -name '*.ts'
find . -name "docker*" -print
find . -name '*.ts' -exec grep -l docker {} +
find . -type f | xargs grep -l "sudo"
ls | xargs -n1 echo git push
which docker
which git make
command -v docker
command -V git
type git
man git
git status
git status --short
git log --oneline -5
git log --grep "docker push"
git diff
git diff HEAD~1 -- src
git show HEAD
git -C x status
git --no-pager log
git branch
git branch -a
git branch --show-current
git tag
git tag -l 'v*'
git remote -v
git stash list
git rev-parse HEAD
git ls-files
git blame x
git config --get user.name
git config --list
cd x && git status
git log | head
true
false
:
test -f x
[ -f x ]
[[ -f x ]] && echo yes
((1 + 1))
FOO=1
FOO=1 BAR=2
FOO=$(pwd)
export FOO=1
env
env | grep PATH
date
uname -a
whoami
hostname
ps aux | grep node
df -h
du -sh .
sed -n 1,5p x
sed -i 's/make/x/' x
awk '{print $1}' x
sort x | uniq -c
cut -d: -f1 x
tr a b < x
jq .x x.json
diff a b
stat x
file x
mkdir -p a/b
touch x
rm -rf x
mv a b
cp a b
ln -s a b
chmod +x x
sleep 1
sleep 5 & kill $!
sleep 5 & pid=$!; sleep 1; kill "$pid"
kill -TERM $$
kill -s TERM $$
sh -c 'kill -TERM $$'
sleep 1 & wait
tee x < y
cat <<EOF⏎git push⏎EOF
cat <<'EOF'⏎$(git push)⏎EOF
cat <<< "git push"
cat > x <<-EOF⏎	make⏎	EOF
# git push
ls # git push
ls # $(git push)
echo "#" ls
(ls)
{ ls; }
(cd x && ls)
if [ -f x ]; then echo git push; fi
for f in git push; do echo "$f"; done
case git in push) echo;; esac
while read -r l; do echo "$l"; done < x
f() { ls; }; f
time ls
nice ls
timeout 5 ls
env FOO=1 ls
bash -c 'echo "git push"'
sh -c 'ls -la'
eval 'echo git push'
xargs
node --version
node -v
npm --version
npm ls
npm view x version
npm outdated
npm run
docker --version
cargo --version
cargo metadata
go version
go env
pip list
pip show x
python --version
tar -tf x.tar
tar tzf x.tgz
make -n
tsc --version
echo $((1+2))
echo "$HOME"
echo ~
ls *.ts
a=(git push); echo "${'${a[@]}'}"
echo ${'${x#git push}'}
echo a > git
> git
ls > docker 2>&1
trap 'echo git push' EXIT
tree -L 2
nproc
seq 1 10 | while read -r i; do echo "$i"; done
base64 -d x
sha256sum x
ping -c1 host
`;

function rows(text: string, expected: CommandClass): { line: string; expected: CommandClass }[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => ({ line: line.replaceAll('⏎', '\n'), expected }));
}

/** Every line of the table with its class. */
export const COMMAND_TABLE = [
  ...rows(BOUND, 'bound'),
  ...rows(HEAVY, 'heavy'),
  ...rows(OTHER, 'other'),
  ...rows(LIGHT, 'light'),
];
