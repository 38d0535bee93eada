// What the WebUI's own scripts give to a page, written anew from how its pages behave.

const whenLoaded = [];
const whenOptionsChanged = [];
const PICTURE_DELAY = 500;
const NEVER_TRANSLATED = "script, style, textarea, input";

function gradioApp() {
    return document.querySelector("gradio-app");
}

function onUiLoaded(callback) {
    whenLoaded.push(callback);
}

function onOptionsChanged(callback) {
    whenOptionsChanged.push(callback);
}

// The settings page's answer: `text` is the JSON of all settings.
function optionsChanged(text) {
    window.opts = JSON.parse(text);
    whenOptionsChanged.forEach((callback) => callback());
}

function switchToTab(name) {
    const place = [...document.querySelectorAll("#tabs > .tabitem")].findIndex((item) => item.id === `tab_${name}`);
    document.querySelectorAll("#tabs > .tab-nav > button")[place].click();
}

function pictureChanged() {
    setTimeout(() => document.getElementById("img2img_update_resize_to").click(), PICTURE_DELAY);
}

// The head of an accordion gets a checkbox. Until somebody clicks it, open and checked are the same thing; from then
// on the head only folds.
function bindAccordion(accordion) {
    const head = accordion.querySelector(".label-wrap");
    const extra = document.getElementById(`${accordion.id}-extra`);
    const hidden = document.querySelector(`#${accordion.id}-checkbox input`);
    const box = document.createElement("input");
    let foldsWithBox = true;
    const isOpen = () => head.classList.contains("open");

    accordion.switched = (on) => {
        box.checked = on;
        if (foldsWithBox && isOpen() !== on) {
            head.click();
        }
        if (hidden.checked !== on) {
            hidden.checked = on;
            hidden.dispatchEvent(new Event("input"));
        }
    };
    Object.assign(box, { type: "checkbox", checked: isOpen(), id: `${accordion.id}-visible-checkbox` });
    box.className = `${hidden.className} input-accordion-checkbox`;
    box.addEventListener("click", (event) => {
        foldsWithBox = false;
        event.stopPropagation();
    });
    box.addEventListener("input", () => accordion.switched(box.checked));
    head.querySelector("span").prepend(box);
    if (extra) {
        head.insertBefore(extra, head.lastElementChild);
    }
    new MutationObserver(() => foldsWithBox && accordion.switched(isOpen())).observe(head, {
        attributeFilter: ["class"],
    });
}

// The hidden checkbox has another value, by a click or by a pasted infotext.
function accordionSwitched(id, on) {
    document.getElementById(id).switched(on);
}

// Texts that are a key of the language's dictionary become what it says.
function translate(node) {
    const words = window.localization;
    const walker = document.createTreeWalker(node, NodeFilter.SHOW_TEXT);
    for (let text = node.nodeType === Node.TEXT_NODE ? node : walker.nextNode(); text; text = walker.nextNode()) {
        const key = text.textContent.trim();
        if (key in words && !text.parentElement?.closest(NEVER_TRANSLATED)) {
            text.textContent = words[key];
        }
    }
}

document.addEventListener("DOMContentLoaded", () => {
    let loaded = false;
    const watched = (changes) => {
        if (!loaded && document.getElementById("txt2img_prompt")) {
            loaded = true;
            document.querySelectorAll(".input-accordion").forEach(bindAccordion);
            whenLoaded.forEach((callback) => callback());
        }
        changes.forEach((change) => [change.target, ...change.addedNodes].forEach(translate));
    };
    new MutationObserver(watched).observe(gradioApp(), { childList: true, subtree: true, characterData: true });
});
