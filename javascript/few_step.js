// Hidden buttons bring the accordions up to date. One is pressed shortly after the last of several changes, and never
// while the server still answers: gradio would drop the event, or a late answer would show old values.
const fewstepRefreshes = {};

function fewstepSoon(id) {
    const refresh = (fewstepRefreshes[id] ??= { timer: null, running: false, again: false });
    clearTimeout(refresh.timer);
    refresh.timer = setTimeout(() => {
        refresh.timer = null;
        fewstepPress(id);
    }, 100);
}

function fewstepPress(id) {
    const refresh = fewstepRefreshes[id];
    const button = gradioApp().querySelector("#" + id);
    refresh.again = refresh.running;
    if (button && !refresh.running) {
        refresh.running = true;
        button.click();
    }
}

function fewstepAnswered(id) {
    const refresh = fewstepRefreshes[id];
    refresh.running = false;
    if (refresh.again) {
        fewstepPress(id);
    }
}

function fewstepAll() {
    gradioApp().querySelectorAll(".fewstep-refresh").forEach((button) => fewstepSoon(button.id));
}

// Not by gradio's "change": that of a picture with a mask never stops, and following it freezes the browser.
function fewstepFollowPictures() {
    const refresh = () => fewstepSoon("fewstep_hires_img2img_refresh");
    gradioApp().querySelector("#mode_img2img")?.addEventListener("load", refresh, { capture: true });
}

onUiLoaded(fewstepAll);
onUiLoaded(fewstepFollowPictures);
onOptionsChanged(fewstepAll);

// The values of the page, the first three filled in: whether img2img resizes by a factor, and the picture's size.
function fewstepWithSource(...values) {
    const byFactor = gradioApp().querySelector("#img2img_tab_resize_by");
    const modes = [...gradioApp().querySelectorAll("#mode_img2img > .tabitem")];
    const picture = modes.find((mode) => mode.style.display !== "none")?.querySelector("img");
    const selected = byFactor && byFactor.style.display !== "none" ? 1 : 0;
    return [selected, picture?.naturalWidth ?? 0, picture?.naturalHeight ?? 0, ...values.slice(3)];
}
